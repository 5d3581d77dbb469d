import dataclasses
import json
from pathlib import Path

import pytest
from support.reports import ROLES, StudySpec
from support.studies import BuiltReport, WriteStudy

from kdbatch.base.errors import UserError
from kdbatch.report.build import build_report
from kdbatch.vocab.plans.declarations import Claim
from kdbatch.vocab.plans.records import save_record


def test_the_folder_of_the_page_holds_tables_and_figures(finished_report: BuiltReport) -> None:
    folder = finished_report.report_dir
    names = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    tables = {f"tables/table1.{kind}" for kind in ("md", "csv", "tex")}
    figures = ("table1_accuracy", "map_T1", "map_T2", "map_student", "subset_size_maps")
    figures += ("subset_size_gains", "subset_size_errors", "subset_size_curves")
    figures += ("subset_size_efficiency", "subset_size_maps_difference", "subset_size_maps_rsa")
    figures += ("subset_size_maps_rsa_difference", "subset_size_curves_pretraining_accuracy")
    figures += ("subset_size_curves_pretraining_loss",)
    images = {f"figures/{name}.{kind}" for name in figures for kind in ("png", "pdf")}
    others = {"index.html", "report.json", "results.parquet", "figures/drawn.json"}
    paper = {name for name in names if name.startswith("paper/")}
    assert names - paper == others | tables | images
    texts = {f"paper/{name}" for name in ("main.tex", "methods.tex", "methods.md")}
    assert texts | {"paper/references.bib", "paper/figures/subset_size_gains.pdf"} <= paper


def test_the_summary_counts_runs_and_verdicts(
    finished_report: BuiltReport, partial_report: BuiltReport
) -> None:
    finished, partial = finished_report.summary, partial_report.summary
    assert (finished.done, finished.total) == (15, 15)
    assert finished.verdicts == {
        "holds": 0,
        "fails": 0,
        "undecided": 0,
        "one-seed": 5,
        "not-yet": 0,
    }
    assert (partial.done, partial.total) == (13, 15)
    assert len(partial.warnings) == 1 and finished.warnings == ()


def test_report_json_has_the_verdicts_and_effects_of_the_page(finished_report: BuiltReport) -> None:
    report = json.loads((finished_report.report_dir / "report.json").read_text())
    claims = {checked["claim"]["id"]: checked for checked in report["claims"]}
    assert set(claims) == {"above", "best", "gain", "blocks", "control"}
    assert {checked["corrected_verdict"] for checked in claims.values()} == {"one-seed"}
    above = claims["above"]
    assert above["effect"] == pytest.approx(16.0) and above["num_videos"] == 400
    assert len(above["comparisons"]) == 4
    assert above["num_groups"] == 400
    low, high = above["interval_95"]
    assert low < 16.0 < high
    assert claims["blocks"]["interval_95"] is None


def test_the_verdicts_hold_for_all_claims_of_the_report_at_once(tmp_path: Path) -> None:
    """One claim that is barely decided alone, among nine that are not decided."""
    sure = Claim(
        id="c", says="", kind="mean_gain_at_least", who="student", than=("T2",), points=17.6
    )
    ties = [dataclasses.replace(sure, id=f"c{i}", points=20.0 + 0.01 * i) for i in range(9)]
    StudySpec(seeds=(0, 1, 2), claims=[sure, *ties]).write(tmp_path / "runs")
    build_report(tmp_path / "runs", to=tmp_path / "report")
    report = json.loads((tmp_path / "report" / "report.json").read_text())
    first, *others = report["claims"]
    assert first["verdict"] == "holds" and 0.005 < first["p_value"] <= 0.05
    assert first["corrected_verdict"] == "undecided"
    assert first["corrected_p_value"] == pytest.approx(10 * first["p_value"], abs=1e-9)
    assert {checked["verdict"] for checked in others} == {"undecided"}
    assert report["coverage"]["verdicts"]["undecided"] == 10
    page = (tmp_path / "report" / "index.html").read_text()
    assert "Among all claims of this report, that may be chance: undecided." in page


def test_building_twice_gives_equal_bytes(finished_report: BuiltReport, tmp_path: Path) -> None:
    build_report(finished_report.runs_dir, to=tmp_path)
    for path in finished_report.report_dir.rglob("*"):
        if path.is_file():
            again = tmp_path / path.relative_to(finished_report.report_dir)
            assert path.read_bytes() == again.read_bytes(), path.name


def test_without_a_plan_the_error_names_the_command_to_type(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nothing was submitted yet"):
        build_report(tmp_path / "runs", to=tmp_path / "report")
    assert not (tmp_path / "report").exists()


def test_a_study_that_has_only_been_submitted_gives_a_page(tmp_path: Path) -> None:
    everything = [(role, subset) for role in (*ROLES, "pretrain") for subset in ("10k", "30k")]
    everything += [(f"map:map_{role}", "30k") for role in ("T1", "T2", "student")]
    StudySpec(unfinished=everything, num_videos=4).write(tmp_path / "runs")
    calls = []
    summary = build_report(
        tmp_path / "runs", to=tmp_path / "report", progress=lambda *call: calls.append(call)
    )
    assert (summary.done, summary.total, summary.verdicts["not-yet"]) == (0, 15, 5)
    assert "0 of 15 runs are done" in summary.page.read_text()
    assert not (tmp_path / "report" / "figures").exists()
    assert calls[0] == (0, 1, "reading results") and calls[-1] == (1, 1, "writing the page")


def test_two_plans_with_a_table_of_one_name_have_separate_files(
    write_study: WriteStudy, tmp_path: Path
) -> None:
    record, runs_dir = write_study()
    (runs_dir / "plans" / "subset_size.toy.json").unlink()
    record = dataclasses.replace(record, maps=(), claims=())
    save_record(runs_dir, record)
    save_record(runs_dir, dataclasses.replace(record, profile="paper", cells=record.cells[:3]))
    build_report(runs_dir, to=tmp_path / "report")
    tables = sorted(path.name for path in (tmp_path / "report" / "tables").glob("*.md"))
    assert tables == ["table1.subset_size.paper.md", "table1.subset_size.toy.md"]
