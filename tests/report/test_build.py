import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from support.reports import ROLES, StudySpec

from kdbatch.base.errors import UserError
from kdbatch.report.build import build_report
from kdbatch.vocab.plans import save_record


def test_tables_figures_and_claims_lie_beside_the_page(one_seed) -> None:
    names = {
        str(p.relative_to(one_seed.report_dir))
        for p in one_seed.report_dir.rglob("*")
        if p.is_file()
    }
    tables = {f"tables/table1.{kind}" for kind in ("md", "csv", "tex")}
    drawings = ("table1_accuracy", "map_T1", "map_T2", "map_student", "subset_size_maps")
    drawings += ("subset_size_gains", "subset_size_errors", "subset_size_curves")
    assert names == {"index.html", "report.json", "results.parquet"} | tables | {
        f"figures/{d}.{kind}" for d in drawings for kind in ("png", "pdf")
    }


def test_the_summary_counts_runs_and_verdicts(one_seed, partial) -> None:
    assert (one_seed.summary.done, one_seed.summary.total) == (15, 15)
    assert one_seed.summary.verdicts == {"holds": 3, "fails": 0, "undecided": 2, "not-yet": 0}
    assert (partial.summary.done, partial.summary.total) == (13, 15)
    assert len(partial.summary.warnings) == 1 and one_seed.summary.warnings == ()


def test_report_json_says_what_the_page_says(one_seed) -> None:
    claims = {
        c["claim"]["id"]: c
        for c in json.loads((one_seed.report_dir / "report.json").read_text())["claims"]
    }
    assert {name: c["verdict"] for name, c in claims.items()} == {
        "above": "holds",
        "best": "holds",
        "gain": "holds",
        "blocks": "undecided",
        "control": "undecided",
    }
    above = claims["above"]
    assert (
        above["effect"] == pytest.approx(16.0)
        and above["num_videos"] == 400
        and len(above["comparisons"]) == 4
    )
    assert (
        above["interval_95"][0] < 16.0 < above["interval_95"][1]
        and claims["blocks"]["interval_95"] is None
    )


def test_building_twice_gives_equal_bytes(one_seed, tmp_path: Path) -> None:
    build_report(one_seed.runs_dir, to=tmp_path)
    for path in one_seed.report_dir.rglob("*"):
        if path.is_file():
            assert (
                path.read_bytes() == (tmp_path / path.relative_to(one_seed.report_dir)).read_bytes()
            ), path.name


def test_no_plan_is_a_line_with_the_command_to_type(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nothing was submitted yet"):
        build_report(tmp_path / "runs", to=tmp_path / "report")
    assert not (tmp_path / "report").exists()


def test_a_study_that_has_only_been_submitted_gives_a_page(tmp_path: Path) -> None:
    everything = [(role, subset) for role in (*ROLES, "pretrain") for subset in ("10k", "30k")]
    everything += [(f"map:map_{role}", "30k") for role in ("T1", "T2", "student")]
    StudySpec(unfinished=everything, num_videos=4).write(tmp_path / "runs")
    heard = []
    summary = build_report(
        tmp_path / "runs", to=tmp_path / "report", progress=lambda *told: heard.append(told)
    )
    assert (summary.done, summary.total, summary.verdicts["not-yet"]) == (0, 15, 5)
    assert (
        "0 of 15 runs are done" in summary.page.read_text()
        and not (tmp_path / "report" / "figures").exists()
    )
    assert heard[0] == (0, 1, "reading results") and heard[-1] == (1, 1, "writing the page")


def test_two_plans_that_use_one_name_keep_their_files_apart(
    written: Callable, tmp_path: Path
) -> None:
    record, runs_dir = written()
    (runs_dir / "plans" / "subset_size.toy.json").unlink()
    record = dataclasses.replace(record, maps=(), claims=())
    save_record(runs_dir, record)
    save_record(runs_dir, dataclasses.replace(record, profile="paper", cells=record.cells[:3]))
    build_report(runs_dir, to=tmp_path / "report")
    tables = sorted(p.name for p in (tmp_path / "report" / "tables").glob("*.md"))
    assert tables == ["table1.subset_size.paper.md", "table1.subset_size.toy.md"]
