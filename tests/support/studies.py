"""Studies and their reports as fixtures; a study that tests only read is made once."""

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, TypedDict, Unpack

import pytest

from kdbatch.report.build import ReportSummary, build_report
from kdbatch.report.data.study import Study, load_study
from kdbatch.vocab.plans.declarations import Claim
from kdbatch.vocab.plans.records import PlanRecord
from kdbatch.vocab.runs.folder import RunFolder
from support.report_runs import mark_failed
from support.reports import AccuracyKey, StudySpec, find_run_id


class SpecFields(TypedDict, total=False):
    """The fields of StudySpec that a test may choose."""

    seeds: Sequence[int]
    num_videos: int
    accuracy: Mapping[AccuracyKey, float]
    unfinished: Sequence[tuple[str, str]]
    claims: Sequence[Claim]
    title: str


StudyCache = Callable[[StudySpec], tuple[PlanRecord, Path]]


class WriteStudy(Protocol):
    """Writes a study and returns its plan and the folder of its runs."""

    def __call__(self, **fields: Unpack[SpecFields]) -> tuple[PlanRecord, Path]: ...


class MakeStudy(Protocol):
    """Writes a study and returns its plan and the study as the report loads it."""

    def __call__(self, **fields: Unpack[SpecFields]) -> tuple[PlanRecord, Study]: ...


def with_single_teachers(study: Study, *run_ids: str) -> Study:
    """The study as if these students, or all, had learned from one teacher."""
    runs = {
        run_id: replace(facts, num_teachers=1)
        if facts.kind == "distill" and run_id in (run_ids or study.runs)
        else facts
        for run_id, facts in study.runs.items()
    }
    return replace(study, runs=runs)


@dataclass(frozen=True, kw_only=True)
class BuiltReport:
    """A study's runs, and the report that was built from them."""

    record: PlanRecord
    runs_dir: Path
    report_dir: Path
    summary: ReportSummary

    @property
    def page(self) -> str:
        return self.summary.page.read_text(encoding="utf-8")


@pytest.fixture(scope="session")
def study_cache(tmp_path_factory: pytest.TempPathFactory) -> StudyCache:
    """Each study is written once; tests work on copies."""
    written: dict[str, tuple[PlanRecord, Path]] = {}

    def get(spec: StudySpec) -> tuple[PlanRecord, Path]:
        key = repr(spec)
        if key not in written:
            folder = tmp_path_factory.mktemp("study")
            written[key] = (spec.write(folder), folder)
        return written[key]

    return get


@pytest.fixture
def write_study(study_cache: StudyCache, tmp_path: Path) -> WriteStudy:
    """A study on disk that the test may damage."""

    def write(**fields: Unpack[SpecFields]) -> tuple[PlanRecord, Path]:
        record, folder = study_cache(StudySpec(**fields))
        copy = tmp_path / f"runs{len(list(tmp_path.iterdir()))}"
        return record, shutil.copytree(folder, copy)

    return write


@pytest.fixture
def make_study(write_study: WriteStudy) -> MakeStudy:
    """A study on disk that the test may damage, loaded as the report loads it."""

    def make(**fields: Unpack[SpecFields]) -> tuple[PlanRecord, Study]:
        study = load_study(write_study(**fields)[1])
        return study.records[0], study

    return make


@pytest.fixture(scope="session")
def finished_report(tmp_path_factory: pytest.TempPathFactory) -> BuiltReport:
    """The report of a finished study with one seed."""
    folder = tmp_path_factory.mktemp("finished")
    return _build(folder, StudySpec().write(folder / "runs"))


@pytest.fixture(scope="session")
def three_seed_report(tmp_path_factory: pytest.TempPathFactory) -> BuiltReport:
    """The report of a finished study with three seeds."""
    folder = tmp_path_factory.mktemp("three")
    return _build(folder, StudySpec(seeds=(0, 1, 2)).write(folder / "runs"))


@pytest.fixture(scope="session")
def partial_report(tmp_path_factory: pytest.TempPathFactory) -> BuiltReport:
    """The report of a study with a failed student, a waiting map and a truncated rows file.

    Its title and the reason of the failure contain markup.
    """
    folder = tmp_path_factory.mktemp("partial")
    title = "<script>alert(1)</script> & sizes"
    record = StudySpec(title=title, unfinished=[("map:map_student", "30k")]).write(folder / "runs")
    student = RunFolder(folder / "runs" / find_run_id(record, "student", "30k"))
    mark_failed(student, "out of memory <i>at</i> step 12")
    rows = RunFolder(folder / "runs" / find_run_id(record, "labels_only", "10k")).rows
    rows.write_bytes(rows.read_bytes()[:-40])
    return _build(folder, record)


def _build(folder: Path, record: PlanRecord) -> BuiltReport:
    summary = build_report(folder / "runs", to=folder / "report")
    return BuiltReport(
        record=record, runs_dir=folder / "runs", report_dir=folder / "report", summary=summary
    )
