"""What a stage is given besides its recipe: the run's folder, the device, the process group, how clips are read."""

from dataclasses import dataclass
from typing import Any

import torch

from kdbatch.run.data.decoding.frame_cache import FrameCache
from kdbatch.run.distributed.process_group import ALONE, Team
from kdbatch.run.heartbeat import Pulse
from kdbatch.vocab.runs import RunFolder

Facts = dict[str, Any]
"""What done.json says of a run besides its times and its machine."""


@dataclass(frozen=True, kw_only=True)
class Worker:
    """What a stage needs to know of the place it runs in."""

    folder: RunFolder
    pulse: Pulse
    device: torch.device
    num_workers: int
    decoder: str
    cache: FrameCache | None = None
    team: Team = ALONE
    compiles: bool = False
