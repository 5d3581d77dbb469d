"""`kdbatch report --against`: what moved since an earlier report, and the reason for it."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import support.reports
from support.reports import ACCURACY, CLAIMS, AccuracyKey, StudySpec
from support.studies import BuiltReport

from kdbatch.base.atomic_write import load_json, write_json
from kdbatch.base.errors import UserError
from kdbatch.report.build import build_report
from kdbatch.report.changes.compare import Change, Changes
from kdbatch.report.changes.compared_report import load_report
from kdbatch.report.changes.lines import changes_lines
from kdbatch.report.changes.reasons import UNKNOWN

BETTER = {**ACCURACY, ("T1", "10k"): 0.58}


def changes_of(spec: StudySpec, finished: BuiltReport, tmp_path: Path) -> Changes:
    """The changes between the report of the usual study and that of `spec`."""
    spec.write(tmp_path / "runs")
    against = finished.report_dir / "report.json"
    changes = build_report(tmp_path / "runs", to=tmp_path / "report", against=against).changes
    assert changes
    return changes


def named(changes: Sequence[Change], what: str) -> Change:
    (found,) = [change for change in changes if change.what == what]
    return found


def test_an_equal_study_moves_nothing_and_the_page_says_so(
    finished_report: BuiltReport, tmp_path: Path
) -> None:
    slightly: Mapping[AccuracyKey, float] = {**ACCURACY, ("T1", "10k"): 0.50004}
    changes = changes_of(StudySpec(accuracy=slightly), finished_report, tmp_path)
    assert changes.rows == [] and changes.num_claims == 5 and changes.num_numbers == 12
    page = (tmp_path / "report" / "index.html").read_text(encoding="utf-8")
    assert "<p>0 of 5 claims and 0 of 12 numbers moved.</p>" in page


def test_the_changed_field_of_a_recipe_is_named_in_number_and_claim(
    finished_report: BuiltReport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    longer = replace(support.reports.SCHEDULE, epochs=6)
    monkeypatch.setattr(support.reports, "SCHEDULE", longer)
    changes = changes_of(StudySpec(accuracy=BETTER), finished_report, tmp_path)
    number = named(changes.numbers, "T1 ShuffleNet at UCF101 · 10k")
    assert (number.before, number.now, number.difference) == ("50.0", "58.0", "+8.0")
    assert "finetune: schedule.epochs 5, now 6" in number.why
    assert "pretrain: schedule.epochs 5, now 6" in number.why  # of its parent
    claim = named(changes.claims, "claim gain")
    assert "distill: schedule.epochs 5, now 6" in claim.why
    assert changes.numbers == (number,) and "claim's" not in claim.why
    lines = list(changes_lines(changes, table=tmp_path / "changes.md"))
    assert max(map(len, lines)) <= 80 and "schedule.epochs 5, now 6" in " ".join(lines)


def test_seeds_test_videos_claims_and_files_are_reasons(
    finished_report: BuiltReport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(support.reports, "TEST", replace(support.reports.TEST, digest="f"))
    stricter = tuple(replace(c, points=9.0) if c.id == "gain" else c for c in CLAIMS)
    spec = StudySpec(seeds=(0, 1), num_videos=200, claims=stricter[:-1])
    changes = changes_of(spec, finished_report, tmp_path)
    claim = named(changes.claims, "claim gain")
    assert "the claim's points was 5.0, now 9.0; 400 test videos, now 200" in claim.why
    assert named(changes.claims, "claim control").why == "it is no claim any more"
    number = named(changes.numbers, "Student ShuffleNet at UCF101 · 10k")
    assert number.why.startswith("seeds 0, now 0 and 1; distill: other test videos, evaluation.")
    assert number.now == "76.0 ± 0.0"
    for kind in ("md", "csv", "tex"):
        assert (
            "other test videos" in (tmp_path / "report" / "tables" / f"changes.{kind}").read_text()
        )
    build_report(tmp_path / "runs", to=tmp_path / "report")
    assert not list((tmp_path / "report" / "tables").glob("changes.*"))


def test_a_number_that_moved_for_no_known_reason_says_so(
    finished_report: BuiltReport, tmp_path: Path
) -> None:
    changes = changes_of(StudySpec(accuracy=BETTER), finished_report, tmp_path)
    assert named(changes.numbers, "T1 ShuffleNet at UCF101 · 10k").why == UNKNOWN


def test_the_report_that_is_written_again_can_be_compared_with(
    finished_report: BuiltReport, tmp_path: Path
) -> None:
    data = build_report(finished_report.runs_dir, to=tmp_path).data
    again = build_report(finished_report.runs_dir, to=tmp_path, against=data)
    assert again.changes and again.changes.rows == []
    assert json.loads(data.read_text())["cells"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda raw: raw.pop("version"), "is a report without a version; only those of version 1"),
        (lambda raw: raw.update(version=9), "is a report of version 9; only those of version 1"),
        (lambda raw: raw.pop("cells"), "cells"),
        (lambda raw: raw["claims"][0].pop("unit"), "claims needs the field 'unit'"),
        (lambda raw: raw["runs"][0].update(recipe=99), "runs: r.*: its recipe is not there"),
    ],
)
def test_a_report_that_cannot_be_compared_is_one_line(
    finished_report: BuiltReport, tmp_path: Path, change, message: str
) -> None:
    raw = load_json(finished_report.report_dir / "report.json")
    change(raw)
    write_json(tmp_path / "report.json", raw)
    with pytest.raises(UserError, match=message) as error:
        load_report(tmp_path / "report.json")
    assert str(tmp_path) in str(error.value) and "\n" not in str(error.value)


def test_a_mistyped_path_a_folder_and_a_changed_file_are_told(
    finished_report: BuiltReport, tmp_path: Path
) -> None:
    good = finished_report.report_dir / "report.json"
    with pytest.raises(UserError, match=r"there is no such file\. Did you mean 'report\.json'\?"):
        load_report(good.with_name("reprot.json"))
    with pytest.raises(UserError, match=r"no such file\. Name the report\.json"):
        load_report(tmp_path / "nowhere" / "report.json")
    with pytest.raises(UserError, match="is a folder. Name the report.json in it"):
        load_report(finished_report.report_dir)
    changed = tmp_path / "report.json"
    changed.write_text(re.sub(r'"mean": 5\d', '"mean": 59', good.read_text(), count=1))
    with pytest.raises(UserError, match="was changed or damaged"):
        load_report(changed)
