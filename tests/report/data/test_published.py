from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from support.inputs import JOBS
from support.reports import TABLE

from kdbatch.report.data.published import find_published, load_published
from kdbatch.report.tables.formats import to_csv, to_markdown
from kdbatch.report.tables.grid import fill_grid


def test_the_source_s_first_table_stands_below_ours_and_is_never_best(studied: Callable) -> None:
    record, study = studied()
    grid = fill_grid(record, TABLE, study, published=True)
    printed = {
        row.title: [n.text for n in row.cells] for row in grid.rows if row.group == "published"
    }
    assert printed == {
        "T1 ShuffleNet": ["61.9", "68.4"],
        "T2 R(2+1)D": ["70.9", "76.4"],
        "Student ShuffleNet": ["83.0", "94.6"],
    }
    assert not any(n.is_best for row in grid.rows if row.group == "published" for n in row.cells)
    assert "*As published*" in to_markdown(
        grid
    ) and "published,student,Student ShuffleNet,ucf101,30k,top1,percent,94.6" in to_csv(grid)
    assert fill_grid(record, TABLE, study).rows == tuple(
        row for row in grid.rows if row.group != "published"
    )


def test_another_profile_s_sizes_have_no_published_number(studied: Callable) -> None:
    record, study = studied()
    cells = tuple(
        replace(c, case=c.case | {"subset": {"10k": "40", "30k": "160"}[c.case["subset"]]})
        for c in record.cells
    )
    grid = fill_grid(
        replace(record, cells=cells, axes=record.axes | {"subset": ("40", "160")}),
        TABLE,
        study,
        published=True,
    )
    assert "published" not in {row.group for row in grid.rows}


def test_a_table_says_where_its_published_numbers_are_from(studied: Callable) -> None:
    record, study = studied()
    (source,) = {n.source for n in load_published() if n.experiment == "subset_size"}
    assert (
        source in fill_grid(record, TABLE, study, published=True).caption
        and source not in fill_grid(record, TABLE, study).caption
    )


def test_a_scale_that_tells_nothing_of_the_study_has_no_published_numbers_beside_it(
    studied: Callable,
) -> None:
    record, study = studied()
    grid = fill_grid(replace(record, note="Toy scale."), TABLE, study, published=True)
    assert "published" not in {row.group for row in grid.rows} and not grid.sources


def test_the_study_s_arithmetic_follows_from_its_tables() -> None:
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
