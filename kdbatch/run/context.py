"""What a stage is given besides its recipe: the run's folder, the device, the process group, how
clips are read.
"""

from dataclasses import dataclass

import torch

from kdbatch.run.data.clip_reader import ClipReader
from kdbatch.run.distributed.process_group import SINGLE_PROCESS, ProcessGroup
from kdbatch.run.heartbeat import StatusReporter
from kdbatch.vocab.runs import RunFolder


@dataclass(frozen=True, kw_only=True)
class RunContext:
    """What a stage needs to know of the place it runs in."""

    folder: RunFolder
    reporter: StatusReporter
    device: torch.device
    num_workers: int
    clip_reader: ClipReader
    group: ProcessGroup = SINGLE_PROCESS
    compile_layers: bool = False
