from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from support.inputs import JOBS
from support.reports import TABLE
from support.studies import MakeStudy, WriteStudy

from kdbatch.report.build import build_report
from kdbatch.report.data.published import find_published, load_published
from kdbatch.report.tables.formats import to_csv, to_markdown
from kdbatch.report.tables.grid import fill_grid
from kdbatch.vocab.plans.records import save_record


def test_published_numbers_stand_below_ours_and_are_never_best(make_study: MakeStudy) -> None:
    record, study = make_study()
    grid = fill_grid(record, TABLE, study, published=True)
    published = [row for row in grid.rows if row.group == "published"]
    assert {row.title: [cell.text for cell in row.cells] for row in published} == {
        "T1 ShuffleNet": ["61.9", "68.4"],
        "T2 R(2+1)D": ["70.9", "76.4"],
        "Student ShuffleNet": ["83.0", "94.6"],
    }
    assert not any(cell.is_best for row in published for cell in row.cells)
    assert grid.rows == (*fill_grid(record, TABLE, study).rows, *published)
    assert "*As published*" in to_markdown(grid)
    line = "published,student,Student ShuffleNet,ucf101,30k,top1,percent,94.6"
    assert line in to_csv(grid)


def test_sizes_of_another_profile_have_no_published_number(make_study: MakeStudy) -> None:
    record, study = make_study()
    toy_sizes = {"10k": "40", "30k": "160"}
    cells = []
    for cell in record.cells:
        case = cell.case | {"subset": toy_sizes[cell.case["subset"]]}
        cells.append(replace(cell, case=case))
    axes = record.axes | {"subset": tuple(toy_sizes.values())}
    toy_record = replace(record, cells=tuple(cells), axes=axes)
    grid = fill_grid(toy_record, TABLE, study, published=True)
    assert "published" not in {row.group for row in grid.rows}


def test_a_caption_names_the_source_of_published_numbers(make_study: MakeStudy) -> None:
    record, study = make_study()
    (source,) = {n.source for n in load_published() if n.experiment == "subset_size"}
    assert source in fill_grid(record, TABLE, study, published=True).caption
    assert source not in fill_grid(record, TABLE, study).caption


def test_a_profile_that_cannot_be_compared_has_no_published_numbers(make_study: MakeStudy) -> None:
    record, study = make_study()
    grid = fill_grid(replace(record, note="Toy scale."), TABLE, study, published=True)
    assert "published" not in {row.group for row in grid.rows} and not grid.sources


def test_a_report_says_where_published_numbers_do_not_apply(
    write_study: WriteStudy, tmp_path: Path
) -> None:
    record, runs_dir = write_study()
    save_record(runs_dir, replace(record, note="Toy scale."))
    summary = build_report(runs_dir, to=tmp_path / "report", published=True)
    (line,) = summary.without_published
    assert line == (
        "--published: nothing can be compared with subset_size, profile toy: Toy scale."
    )
    assert not build_report(runs_dir, to=tmp_path / "report").without_published


def test_the_differences_that_the_source_states_follow_from_its_tables() -> None:
    def ood(role: str, task: str) -> float:
        number = find_published(
            "out_of_distribution", metric="top1", role=role, case={"task": task}
        )
        assert number is not None
        return number.value

    for task, gain in (("rotnet", 20.45), ("vcop", 12.55)):  # printed as 20.5 and 12.6
        assert ood("student", task) - (ood("T1", task) + ood("T2", task)) / 2 == pytest.approx(gain)
    for category, margin in (("non-contrastive", 39.2), ("contrastive", 1.5)):
        case = {"category": category, "network": "shufflenet_2x"}
        student, alone = (
            find_published("pretext_categories", metric="top1", role=r, case=case)
            for r in ("student", "spatiotemporal")
        )
        assert student and alone and student.value - alone.value == pytest.approx(margin)


def test_every_published_number_belongs_to_a_role_and_a_case_of_an_experiment() -> None:
    for number in load_published():
        raw = yaml.safe_load((Path(JOBS) / f"{number.experiment}.yaml").read_text())
        roles = {*raw["teachers"], *raw.get("references", {}), "student"}
        assert number.role in roles and set(number.case) == set(raw["vary"])
        assert all(value in list(raw["vary"][axis]) for axis, value in number.case.items())
