"""A tar that is missing or cut off is found before a run is started: by plan, submit and doctor."""

from collections.abc import Callable
from pathlib import Path

import pytest
from support.inputs import JOBS

from kdbatch.cli.command import dispatch
from kdbatch.cli.commands import Commands
from kdbatch.launch.checks.doctor import run_checks
from kdbatch.vocab.config import Config

EXPERIMENT = str(JOBS / "task_complexity.yaml")
MISSING = "shards/k400: 2 of 100 tars differ from index.json: train-00003.tar is missing, "
CUT_OFF = "train-00005.tar has 4 of 10 bytes. Make them again: kdbatch shard k400"


@pytest.fixture
def damaged(sharded: Callable[..., Config], in_tmp: Path) -> Config:
    config = sharded(k400=100_000, ucf101=13_320)
    folder = in_tmp / "shards" / "k400"
    (folder / "train-00003.tar").unlink()
    (folder / "train-00005.tar").write_bytes(bytes(4))
    return config


def test_plan_names_the_tars_that_runs_would_miss_and_how_to_make_them(
    damaged: Config, capsys: pytest.CaptureFixture[str]
) -> None:
    assert dispatch(Commands(), ["plan", EXPERIMENT]) == 0
    (line,) = capsys.readouterr().err.splitlines()
    assert "train-00003.tar is missing, train-00005.tar has 4 of 10 bytes" in line
    assert "Make them again: kdbatch shard k400" in line


@pytest.mark.parametrize("flag", ["--dry-run", "--local"])
def test_submit_starts_nothing_where_a_tar_is_missing(
    damaged: Config, in_tmp: Path, capsys: pytest.CaptureFixture[str], flag: str
) -> None:
    assert dispatch(Commands(), ["submit", EXPERIMENT, flag]) == 2
    assert "train-00003.tar is missing" in capsys.readouterr().err
    assert not (in_tmp / "runs").exists()


def test_a_tar_beyond_the_subset_that_a_run_reads_does_not_stop_it(
    damaged: Config, in_tmp: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = in_tmp / "shards" / "k400"
    for number in (3, 5):
        (folder / f"train-0000{number}.tar").write_bytes(bytes(10))
    (folder / "train-00099.tar").unlink()
    dispatch(Commands(), ["plan", EXPERIMENT])  # it reads the first 30,000 videos
    assert capsys.readouterr().err == ""


def test_doctor_names_them_too_and_all_tars_are_fine_otherwise(
    damaged: Config, in_tmp: Path
) -> None:
    bad = [f.message for f in run_checks(damaged) if (f.subject, f.severity) == ("shards", "bad")]
    assert len(bad) == 1 and bad[0].startswith(MISSING + CUT_OFF)
    folder = in_tmp / "shards" / "k400"
    for number in (3, 5):
        (folder / f"train-0000{number}.tar").write_bytes(bytes(10))
    (found,) = [f for f in run_checks(damaged) if f.subject == "shards"]
    assert (found.severity, found.message) == (
        "ok",
        "shards/ has k400, ucf101, with all of their tars",
    )


def test_a_damaged_index_is_a_finding_of_doctor(damaged: Config, in_tmp: Path) -> None:
    (in_tmp / "shards" / "ucf101" / "index.json").write_text("{")
    bad = [f.message for f in run_checks(damaged) if f.severity == "bad"]
    assert any("ucf101/index.json: is not JSON" in message for message in bad)
