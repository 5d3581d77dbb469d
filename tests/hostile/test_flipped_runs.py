"""A bit of a file flips between two starts of a run: the second start says so in one line, or ends
with the weights and the numbers of a run whose files are whole.
"""

import random
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from support import targets

from kdbatch.base.digests.sha256 import sha256_of
from kdbatch.result.read import read_rows
from kdbatch.run.heartbeat import StopSignal
from kdbatch.run.main import main
from kdbatch.vocab.attempts.exit_rules import EXIT_BLOCKED, EXIT_DONE, EXIT_STOPPED, EXIT_USER
from kdbatch.vocab.plans.plan import Plan
from kdbatch.vocab.runs.folder import RunFolder
from kdbatch.vocab.runs.run import Run
from kdbatch.vocab.status import load_status

pytestmark = [pytest.mark.hostile, pytest.mark.xdist_group("flipped runs")]

FLIPS_PER_FILE = 4
OF_MACHINE = ("clips_per_second", "train_seconds", "idle_share", "max_memory")


class StopAfter(StopSignal):
    """Requests a stop at check `num_checks` + 1; training checks once per step."""

    def __init__(self, num_checks: int) -> None:
        self.num_checks = num_checks
        self.requested_at, self.early_warning = 0.0, False

    @property
    def requested(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        self.num_checks -= 1
        return self.num_checks < 0


@pytest.fixture(scope="module")
def student(stopped: tuple[Path, Plan]) -> Run:
    return targets.run_of(stopped[1], "student")


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Plan]]:
    """Shards, finished teachers, and their student, which was stopped in its second epoch."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("stopped")
    targets.write_world(folder)
    plan = targets.plan_of(folder)
    student = targets.run_of(plan, "student")
    runs = {item.run.id: item.run for item in plan.runs}
    for run_id in _ancestors(student.id, runs):
        assert main([str(targets.prepare(folder, runs[run_id]).path)], stop=StopSignal()) == 0
    place = targets.prepare(folder, student)
    assert main([str(place.path)], stop=StopAfter(4)) == EXIT_STOPPED
    shutil.rmtree(folder / "toys")
    yield folder, plan
    torch.set_num_threads(threads)


def _ancestors(run_id: str, runs: dict[str, Run]) -> list[str]:
    """The ids of all runs that a run needs, parents first."""
    found: list[str] = []
    for parent in runs[run_id].parents:
        found += [*_ancestors(parent, runs), parent]
    return list(dict.fromkeys(found))


def _numbers(place: RunFolder) -> tuple[str, dict[str, float]]:
    frame = read_rows(place.path.parent, [place.id]).frame
    rows = dict(zip(frame["name"].to_list(), frame["value"].to_list(), strict=True))
    return sha256_of(place.model), {n: v for n, v in rows.items() if n not in OF_MACHINE}


def _differences(place: RunFolder, expected: tuple[str, dict[str, float]]) -> list[str]:
    """List what differs from a run whose files are whole."""
    (weights, rows), (weights_expected, rows_expected) = _numbers(place), expected
    names = sorted({*rows, *rows_expected})
    differ = [name for name in names if rows.get(name) != rows_expected.get(name)]
    return [*["its weights"] * (weights != weights_expected), *differ]


def _files(folder: Path, student: Run) -> list[Path]:
    place, parent = (RunFolder(folder / "runs" / i) for i in (student.id, student.parents[0]))
    names = ("run.json", "status.json", "checkpoint.pt", "teacher_outputs.bin")
    of_parent = ("run.json", "done.json", "model.safetensors", "predictions.parquet")
    shards = sorted(p for p in (folder / "shards" / "ucf101").iterdir() if p.suffix != ".parquet")
    return [
        *(place.path / name for name in names),
        *(parent.path / name for name in of_parent),
        *(path for path in shards if path.suffix in (".json", ".tar")),
    ]


def test_no_flip_between_two_starts_ends_done_with_other_weights(
    stopped: tuple[Path, Plan],
    student: Run,
    tmp_path: Path,
    rng: random.Random,
    capfd: pytest.CaptureFixture[str],
) -> None:
    folder = stopped[0]
    place = RunFolder(folder / "runs" / student.id)
    kept = shutil.copytree(folder, tmp_path / "kept")

    def restore() -> None:
        for name in ("runs", "shards"):
            shutil.rmtree(folder / name)
            shutil.copytree(kept / name, folder / name)

    assert main([str(place.path)], stop=StopSignal()) == EXIT_DONE
    expected = _numbers(place)
    restore()
    faults, num_told, num_tried = [], 0, 0
    for path in _files(folder, student):
        for _ in range(FLIPS_PER_FILE):
            bit = rng.randrange(8 * path.stat().st_size)
            raw = bytearray(path.read_bytes())
            raw[bit // 8] ^= 1 << bit % 8
            path.write_bytes(raw)
            num_tried += 1
            capfd.readouterr()
            code = main([str(place.path)], stop=StopSignal())
            told = _told(place, capfd.readouterr().err)
            num_told += code != EXIT_DONE
            if code not in (EXIT_DONE, EXIT_USER, EXIT_BLOCKED):
                faults.append(f"{path.name}, bit {bit}: ended with {code}: {told}")
            elif code == EXIT_DONE and _numbers(place) != expected:
                faults.append(f"{path.name}, bit {bit}: done, but {_differences(place, expected)}")
            elif code != EXIT_DONE and len(told.splitlines()) != 1:
                faults.append(f"{path.name}, bit {bit}: {told!r}")
            restore()
    assert not faults
    print(f"{num_tried} flips, {num_told} starts refused")  # noqa: T201
    assert num_told > num_tried // 3


def _told(place: RunFolder, errors: str) -> str:
    """Return the message of the start: its line on standard error, or the reason in status.json."""
    if said := re.findall(r"^kdbatch: (.+)$", errors, re.MULTILINE):
        return "\n".join(said)
    status = load_status(place.status)
    return status.reason if status is not None else ""
