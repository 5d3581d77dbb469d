"""`kdbatch report --complete`: has the report all that the experiments declare?"""

from pathlib import Path

import pytest
from support.studies import BuiltReport

from kdbatch.cli.results import report


def test_a_finished_study_lacks_nothing(one_seed: BuiltReport) -> None:
    assert one_seed.summary.missing == ()


def test_each_thing_that_is_missing_is_named(partial: BuiltReport) -> None:
    lacks = partial.summary.missing
    assert all(line.startswith("subset_size: ") for line in lacks)
    for words in (
        "is failed",
        "is queued",
        "table1: student at",
        "has 0 of 1 numbers",
        "claim blocks has no verdict",
    ):
        assert any(words in line for line in lacks), words


def test_the_command_fails_and_says_why(
    partial: BuiltReport,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(partial.runs_dir.parent)
    assert report(str(tmp_path), published=False, json=True, complete=True) == 1
    said = capsys.readouterr()
    assert said.out.startswith("{") and all(
        f"kdbatch: {line}" in said.err for line in partial.summary.missing
    )
