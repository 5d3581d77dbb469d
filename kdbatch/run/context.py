"""The context of a stage: the run's folder, the device, the process group, the clip reader."""

from dataclasses import dataclass

import torch

from kdbatch.run.data.clip_reader import ClipReader
from kdbatch.run.distributed.process_group import SINGLE_PROCESS, ProcessGroup
from kdbatch.run.heartbeat import StatusReporter
from kdbatch.vocab.runs.folder import RunFolder


@dataclass(frozen=True, kw_only=True)
class RunContext:
    """Everything that a stage is given in addition to its recipe and assignment."""

    folder: RunFolder
    reporter: StatusReporter
    device: torch.device
    num_workers: int
    clip_reader: ClipReader
    group: ProcessGroup = SINGLE_PROCESS
    compile: bool = False
