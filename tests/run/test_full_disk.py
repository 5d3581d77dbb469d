"""A worker without space for its files; a limit of file size makes it so for real."""

import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import polars as pl
import pytest
import torch
from torch import nn

from kdbatch.base.atomic_write import write_text
from kdbatch.base.disk_space import DiskFullError, disk_full_error
from kdbatch.result.write import write_table
from kdbatch.run.checkpoint import save_checkpoint, save_weights
from kdbatch.run.heartbeat import StatusReporter, StopSignal
from kdbatch.vocab.attempts.retries import Retries
from kdbatch.vocab.attempts.retry_policy import count_interruptions, refusal
from kdbatch.vocab.attempts.start import Start
from kdbatch.vocab.runs.folder import RunFolder
from kdbatch.vocab.status import Status, load_status, save_status

WRITERS: dict[str, Callable[[Path], object]] = {
    "text": lambda path: write_text(path, "x" * 100_000),
    "checkpoint": lambda path: save_checkpoint(path, {"a": torch.rand(100_000)}),
    "weights": lambda path: save_weights(path, nn.Linear(100, 1000)),
    "table": lambda path: write_table(
        path, [{"a": i * 0.1} for i in range(100_000)], schema={"a": pl.Float64()}
    ),
}


@contextmanager
def file_size_limit(num_bytes: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("name", WRITERS)
def test_every_writer_reports_the_file_that_it_has_no_space_for(name: str, tmp_path: Path) -> None:
    path = tmp_path / "out"
    with file_size_limit(4096), pytest.raises(DiskFullError) as caught:
        WRITERS[name](path)
    assert str(caught.value).startswith(f"{path}: File too large (")
    assert str(caught.value).endswith("ulimit -f allows 4.1 kB)") and list(tmp_path.iterdir()) == []
    WRITERS[name](path)
    assert path.exists()


def test_an_error_in_whose_handling_another_was_raised_is_recognised(tmp_path: Path) -> None:
    with file_size_limit(10):
        try:
            try:
                (tmp_path / "a").write_text("x" * 100)
            finally:
                raise ValueError("while closing")
        except ValueError as error:
            assert disk_full_error(error, path=tmp_path) is not None
    assert disk_full_error(ValueError("no space"), path=tmp_path) is None


def test_the_last_status_is_written_into_the_old_file_where_a_new_one_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = RunFolder(tmp_path)
    save_status(folder.status, Status(state="queued", reason="x" * 600))

    def refuse(path: Path, status: Status) -> None:
        raise DiskFullError(28, str(path))

    with StatusReporter(folder, device="cpu", stop=StopSignal()) as reporter:
        monkeypatch.setattr("kdbatch.run.heartbeat.save_status", refuse)
        reporter.end("stopped", cause="disk_full", reason="no space")
    status = load_status(folder.status)
    assert status is not None and (status.state, status.cause) == ("stopped", "disk_full")


def test_a_full_disk_counts_against_no_limit() -> None:
    status = Status(state="stopped", cause="disk_full", ended={"disk_full": 400})
    ended, fruitless = count_interruptions(status, Start())
    assert ended == {"disk_full": 401} and not refusal(ended, fruitless, retries=Retries())
