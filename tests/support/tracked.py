"""A study of one run under way, as its worker writes it; what each tracker's own library reads."""

import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kdbatch.result.schema import CURVES, ROWS
from kdbatch.result.write import Measure, write_measures
from kdbatch.vocab.done import Done, save_done
from kdbatch.vocab.jobs.resources import Resources
from kdbatch.vocab.recipes.compare import Compare
from kdbatch.vocab.runs.folder import Assignment, RunFolder
from kdbatch.vocab.runs.run import Run
from kdbatch.vocab.shards.subset import Subset
from kdbatch.vocab.status import RunState, Status, save_status
from kdbatch.vocab.views import View

NUM_STEPS = 40
STARTED_AT = 1.8e9
SUBSET = Subset(dataset="ucf101", split="train01", num_places=0, num_classes=3, digest="0")


def loss_at(step: int) -> float:
    """A number that TensorBoard's 32 bits hold exactly."""
    return 2.0 ** -(step // 10)


class RunUnderWay:
    """A run of 40 steps, an epoch each 10, in `runs/` of the working directory."""

    def __init__(self, *, seed: int = 0) -> None:
        run = Run(recipe=Compare(data=SUBSET, view=View()), seed=seed, parents=())
        self.id = run.id
        self.folder = RunFolder(Path("runs") / run.id)
        self.folder.save(
            Assignment(
                run=run,
                title=f"student [k400], seed {seed}",
                shards_dir="shards",
                decoder="pyav",
                resources=Resources(),
            )
        )

    def reach(self, step: int, *, state: RunState = "running", attempt: int = 1) -> None:
        """The files at a step: the status, and the curves of the epochs that have ended."""
        points = [
            Measure(name=name, value=loss_at(end), unit="1", step=end)
            for end in range(10, step + 1, 10)
            for name in ("loss", "lr")
        ]
        if points:
            write_measures(self.folder.curves, self.id, points, schema=CURVES)
        save_status(
            self.folder.status,
            Status(
                state=state,
                attempt=attempt,
                step=step,
                num_steps=NUM_STEPS,
                heartbeat_at=STARTED_AT + step,
                seconds=float(step),
                host=os.uname().nodename,
                pid=os.getpid(),
            ),
        )

    def finish(self) -> None:
        self.reach(NUM_STEPS, state="done")
        top1 = Measure(name="top1", value=62.5, unit="percent", subset="ucf101/test01")
        write_measures(self.folder.rows, self.id, [top1], schema=ROWS)
        save_done(self.folder.done, Done(run_id=self.id, kind="compare"))


def read_wandb_file(path: Path) -> Iterator[Any]:
    """The records of a `.wandb` file: a LevelDB log of protocol buffers."""
    wandb_internal_pb2 = pytest.importorskip("wandb.proto.wandb_internal_pb2")
    data, position, record = path.read_bytes(), 7, b""
    while position + 7 <= len(data):
        _, length, kind = struct.unpack("<IHB", data[position : position + 7])
        if not kind:  # the rest of a block of 32 KiB
            position += 32768 - position % 32768
            continue
        record += data[position + 7 : position + 7 + length]
        position += 7 + length
        if kind in (1, 4):  # a whole record, or the last part of one
            message = wandb_internal_pb2.Record()
            message.ParseFromString(record)
            yield message
            record = b""
