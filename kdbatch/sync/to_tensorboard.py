"""Writes runs as TensorBoard logs: one folder per run, with one event file that only grows.

`kdbatch.json` next to the event file has the mark and the number of bytes that belong to it. Bytes
of an interrupted sync come after them and are cut off by the next one.
"""

# pyright: reportMissingImports=false

# The classes of TensorBoard's protocol buffers are made when they are imported, without types.
# pyright: reportAttributeAccessIssue=false

import dataclasses
import os
import re
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kdbatch.base.atomic_write import load_json, make_folder, write_json
from kdbatch.base.command_lines import sync_command
from kdbatch.base.errors import UserError
from kdbatch.base.output.visible_text import visible
from kdbatch.base.parse import parse
from kdbatch.base.reading.field_facts import ByteCount
from kdbatch.sync.snapshot import RunSnapshot
from kdbatch.sync.tracker import NO_MARK, Mark, Update, missing_library

try:
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.plugins.hparams import api_pb2, plugin_data_pb2
    from tensorboard.plugins.hparams import metadata as hparams_metadata
    from tensorboard.plugins.hparams.summary_v2 import hparams_pb
    from tensorboard.plugins.scalar.summary_v2 import scalar_pb
    from tensorboard.plugins.text.summary_v2 import text_pb
    from tensorboard.summary.writer.record_writer import RecordWriter
except ImportError as error:
    raise missing_library("tensorboard") from error

EVENTS, MARK = "events.out.tfevents.0000000000.kdbatch", "kdbatch.json"


@dataclass(frozen=True, kw_only=True)
class LogMark:
    """The contents of `kdbatch.json`; `num_bytes` of the event file belong to `mark`."""

    mark: Mark = NO_MARK
    num_bytes: ByteCount = 0


class TensorboardLog:
    """A folder for `tensorboard --logdir`.

    Raises:
        UserError: it cannot be made.
    """

    def __init__(self, folder: Path) -> None:
        make_folder(folder, spelling=sync_command("tensorboard", "FOLDER"))
        self._folder = folder
        self._logs: dict[str, Path] = {}  # by run id: a run's title may be changed later

    @property
    def lock(self) -> Path:
        return self._folder / "kdbatch.lock"

    def open(self) -> None:
        logs = self._folder.glob(f"*/{EVENTS}")
        self._logs = {path.parent.name.rpartition(".")[2]: path.parent for path in logs}

    def load_mark(self, run_id: str) -> Mark:
        return self._log_mark(run_id).mark

    def _log_mark(self, run_id: str) -> LogMark:
        """The mark of a run; that of an empty file where `kdbatch.json` is missing or damaged, so
        that the event file is written again as a whole.
        """
        path = self._logs.get(run_id, self._folder) / MARK
        if run_id not in self._logs or not path.exists():
            return LogMark()
        try:
            return parse(LogMark, load_json(path), where=str(path))
        except UserError:
            return LogMark()

    def write(self, update: Update) -> None:
        run = update.run
        before = self._log_mark(run.run_id)
        folder = self._logs.setdefault(run.run_id, self._folder / _folder_name(run))
        folder.mkdir(exist_ok=True)
        descriptor = os.open(folder / EVENTS, os.O_RDWR | os.O_CREAT, 0o666)
        with os.fdopen(descriptor, "r+b") as file:
            num_bytes = min(before.num_bytes, file.seek(0, os.SEEK_END))
            file.truncate(num_bytes)
            file.seek(num_bytes)
            writer = RecordWriter(file)
            for event in _events(update, is_empty=not num_bytes):
                writer.write(event.SerializeToString())
            file.flush()
            os.fsync(file.fileno())
            after = LogMark(mark=update.mark, num_bytes=file.tell())
        write_json(folder / MARK, dataclasses.asdict(after))


def _folder_name(run: RunSnapshot) -> str:
    """The name by which TensorBoard lists the run: its title and its id."""
    return f"{re.sub(r'[^A-Za-z0-9.+=]+', '-', run.title).strip('-.')[:100]}.{run.run_id}"


def _events(update: Update, *, is_empty: bool) -> list[Any]:
    run, now = update.run, time.time()
    events = []
    if is_empty:
        events.append(Event(wall_time=run.started_at, file_version="brain.Event:2"))
    if update.is_first:
        names = {"title": run.title, "kind": run.kind, "experiments": ", ".join(run.experiments)}
        parameters = {**names, "roles": "; ".join(run.roles), **run.parameters}
        table = _preformatted(f"{name}: {value}" for name, value in parameters.items())
        start = hparams_pb(parameters, trial_id=run.run_id, start_time_secs=run.started_at)
        events += [
            Event(wall_time=run.started_at, step=0, summary=start),
            Event(wall_time=run.started_at, step=0, summary=text_pb("run", table)),
        ]
    for point in update.points:
        summary = scalar_pb(point.name, point.value)
        events.append(Event(wall_time=point.at, step=point.step, summary=summary))
    last_step = max(0, update.mark.step, update.mark.progress_step)
    for name, value in update.measures.items():
        summary = scalar_pb(f"final/{name}", value)
        events.append(Event(wall_time=run.status.heartbeat_at, step=last_step, summary=summary))
    text = f"{run.state}, attempt {run.status.attempt} {run.status.reason}".strip()
    summary = text_pb("state", _preformatted([text]))
    events.append(Event(wall_time=now, step=last_step, summary=summary))
    if update.mark.complete:
        events.append(Event(wall_time=now, step=last_step, summary=_session_end(run)))
    return events


def _preformatted(lines: Iterable[str]) -> str:
    """Lines that TensorBoard, which reads Markdown, shows as they are."""
    return "\n".join(f"    {visible(line)}" for line in lines)


def _session_end(run: RunSnapshot) -> Any:
    """The end of the run for TensorBoard's table of hyperparameters."""
    end = plugin_data_pb2.SessionEndInfo(
        status=api_pb2.STATUS_SUCCESS, end_time_secs=run.status.heartbeat_at
    )
    data = plugin_data_pb2.HParamsPluginData(session_end_info=end)
    value = Summary.Value(
        tag=hparams_metadata.SESSION_END_INFO_TAG,
        metadata=hparams_metadata.create_summary_metadata(data),
        tensor=hparams_metadata.NULL_TENSOR,
    )
    return Summary(value=[value])
