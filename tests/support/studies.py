"""Studies and their reports, each made once for all tests that only look at them."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from kdbatch.report.build import ReportSummary, build_report
from kdbatch.report.data.study import Study, load_study
from kdbatch.vocab.plans import PlanRecord
from kdbatch.vocab.runs import RunFolder
from support.reports import StudySpec, find_run_id, mark_failed


@dataclass(frozen=True, kw_only=True)
class BuiltReport:
    """A study's runs, and the report made of them."""

    record: PlanRecord
    runs_dir: Path
    report_dir: Path
    summary: ReportSummary

    @property
    def page(self) -> str:
        return self.summary.page.read_text(encoding="utf-8")


@pytest.fixture(scope="session")
def shelf(
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[[StudySpec], tuple[PlanRecord, Path]]:
    """Each world is written once; tests work on copies."""
    written: dict[str, tuple[PlanRecord, Path]] = {}

    def take(world: StudySpec) -> tuple[PlanRecord, Path]:
        if repr(world) not in written:
            folder = tmp_path_factory.mktemp("world")
            written[repr(world)] = (world.write(folder), folder)
        return written[repr(world)]

    return take


@pytest.fixture
def written(
    shelf: Callable[[StudySpec], tuple[PlanRecord, Path]], tmp_path: Path
) -> Callable[..., tuple[PlanRecord, Path]]:
    """A study on disk that the test may damage: (record, runs folder)."""

    def make(**world: object) -> tuple[PlanRecord, Path]:
        record, folder = shelf(StudySpec(**world))
        return record, shutil.copytree(folder, tmp_path / f"runs{len(list(tmp_path.iterdir()))}")

    return make


@pytest.fixture
def studied(
    written: Callable[..., tuple[PlanRecord, Path]],
) -> Callable[..., tuple[PlanRecord, Study]]:
    """The same, read as the report does."""

    def make(**world: object) -> tuple[PlanRecord, Study]:
        study = load_study(written(**world)[1])
        return study.records[0], study

    return make


@pytest.fixture(scope="session")
def one_seed(tmp_path_factory: pytest.TempPathFactory) -> BuiltReport:
    return _built(tmp_path_factory.mktemp("one"), StudySpec())


@pytest.fixture(scope="session")
def partial(tmp_path_factory: pytest.TempPathFactory) -> BuiltReport:
    """One student failed, one map waits, one rows file is cut short; a title wants to be markup."""
    folder = tmp_path_factory.mktemp("partial")
    world = StudySpec(
        title="<script>alert(1)</script> & sizes", unfinished=[("map:map_student", "30k")]
    )
    record = world.write(folder / "runs")
    mark_failed(
        RunFolder(folder / "runs" / find_run_id(record, "student", "30k")),
        "out of memory <i>at</i> step 12",
    )
    rows = RunFolder(folder / "runs" / find_run_id(record, "labels_only", "10k")).rows
    rows.write_bytes(rows.read_bytes()[:-40])
    return _report(folder, record)


def _built(folder: Path, world: StudySpec) -> BuiltReport:
    return _report(folder, world.write(folder / "runs"))


def _report(folder: Path, record: PlanRecord) -> BuiltReport:
    summary = build_report(folder / "runs", to=folder / "report")
    return BuiltReport(
        record=record, runs_dir=folder / "runs", report_dir=folder / "report", summary=summary
    )
