"""`kdbatch report --complete`: does the report have everything that the experiments declare?"""

from pathlib import Path

import pytest
from support.studies import BuiltReport

from kdbatch.cli.results import report


def test_a_finished_study_misses_nothing(finished_report: BuiltReport) -> None:
    assert finished_report.summary.missing == ()


@pytest.mark.parametrize(
    "words",
    [
        "is failed",
        "is queued",
        "table1: student at",
        "has 0 of 1 seeds",
        "claim blocks has no verdict",
    ],
)
def test_each_missing_part_is_named(partial_report: BuiltReport, words: str) -> None:
    missing = partial_report.summary.missing
    assert all(line.startswith("subset_size: ") for line in missing)
    assert any(words in line for line in missing)


def test_the_command_fails_and_prints_what_is_missing(
    partial_report: BuiltReport,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(partial_report.runs_dir.parent)
    assert report(str(tmp_path), published=False, json=True, complete=True, against="") == 1
    printed = capsys.readouterr()
    assert printed.out.startswith("{")
    for line in partial_report.summary.missing:
        assert f"kdbatch: {line}" in printed.err
