"""The test videos of runs that another trainer made."""

from collections.abc import Iterator
from pathlib import Path

from kdbatch.base.errors import UserError
from kdbatch.result.read import read_label_ranks
from kdbatch.vocab.datasets import GroupedVideos
from kdbatch.vocab.plans.plan import Plan
from kdbatch.vocab.plans.records import PlanRecord
from kdbatch.vocab.runs.folder import RunFolder


def outside_runs(plan: Plan, runs_dir: Path) -> list[str]:
    """Return the finished runs of other trainers."""
    ids = [cell.run_id for record in _outside(plan) for cell in record.cells]
    return [run_id for run_id in dict.fromkeys(ids) if RunFolder(runs_dir / run_id).is_known_done()]


def outside_videos(plan: Plan, runs_dir: Path) -> dict[str, GroupedVideos]:
    """Return the test videos of each run of another trainer: those of the first finished run of its
    case, or else of its experiment.

    Raises:
        UserError: an experiment has no finished run yet.
    """
    found: dict[str, GroupedVideos] = {}
    for record in _outside(plan):
        of_case: dict[str, GroupedVideos] = {}
        for cell in record.cells:
            if str(cell.case) not in of_case and RunFolder(runs_dir / cell.run_id).is_known_done():
                of_case[str(cell.case)] = _count(record, runs_dir, cell.run_id)
        if not of_case:
            raise UserError(
                f"{record.experiment}: its runs are those of another trainer, and none is in "
                f"{runs_dir}/ yet, so the number of test videos is not known. Write one with "
                "kdbatch.write_results"
            )
        first = next(iter(of_case.values()))
        found |= {cell.run_id: of_case.get(str(cell.case), first) for cell in record.cells}
    return found


def _outside(plan: Plan) -> Iterator[PlanRecord]:
    return (record for record in plan.records if record.is_outside)


def _count(record: PlanRecord, runs_dir: Path, run_id: str) -> GroupedVideos:
    read = read_label_ranks(runs_dir, [run_id])
    if read.warnings:
        raise UserError(read.warnings[0])
    return GroupedVideos(
        dataset=record.experiment,
        title=record.title,
        split="",
        num_videos=read.frame.height,
        num_groups=read.frame["group"].n_unique(),
        counted=True,
    )
