"""What the page shows, before it is written: values, no markup."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from kdbatch.report.data.study import RunFacts, Study, matching_cells
from kdbatch.report.figures.base import SavedFigure
from kdbatch.report.labels import case_title, format_number
from kdbatch.report.stats.claims import VERDICTS, CheckedClaim, ClaimVerdict
from kdbatch.report.tables.grid import Grid
from kdbatch.result.read import read_curves
from kdbatch.vocab.plans import PlanRecord

ENSEMBLE_COLUMNS: dict[str, tuple[str, int]] = {
    "teacher_ensemble_top1": ("Ensemble top-1", 1),
    "teacher_oracle_top1": ("Any right", 1),
    "teacher_error_correlation": ("Error correlation", 2),
}


@dataclass(frozen=True, kw_only=True)
class TextTable:
    """A plain table of texts: first column left, the others right."""

    title: str
    note: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, kw_only=True)
class Chapter:
    """One experiment of the page. Grids come with the base name of their files."""

    record: PlanRecord
    runs: tuple[RunFacts, ...]
    grids: tuple[tuple[str, Grid], ...]
    figures: tuple[SavedFigure, ...]
    text_tables: tuple[TextTable, ...]
    claims: tuple[CheckedClaim, ...]

    @property
    def num_done(self) -> int:
        return count_done(self.runs)


def count_done(runs: Sequence[RunFacts]) -> int:
    return sum(run.state == "done" for run in runs)


def count_verdicts(claims: Sequence[CheckedClaim]) -> dict[ClaimVerdict, int]:
    return {verdict: sum(c.verdict == verdict for c in claims) for verdict in VERDICTS}


def pretraining_table(runs: Sequence[RunFacts], study: Study) -> TextTable | None:
    """What each backbone learned before it saw a label."""
    rows = []
    for run in runs:
        accuracy = study.value(run.run_id, "pretext_accuracy")
        if run.kind == "pretrain" and accuracy is not None:
            chance, speed = (
                study.value(run.run_id, "pretext_chance"),
                study.value(run.run_id, "clips_per_second"),
            )
            rows.append(
                (
                    run.title,
                    format_number(accuracy),
                    format_number(chance),
                    format_number(speed, digits=0),
                )
            )
    note = "In the pretext task itself, in percent of its questions, mean of the last epoch. Near chance, a backbone has learned nothing."
    head = ("Run", "Accuracy", "Chance", "Clips/s")
    return (
        TextTable(title="What pretraining reached", note=note, head=head, rows=tuple(rows))
        if rows
        else None
    )


def teacher_agreement_table(record: PlanRecord, study: Study) -> TextTable | None:
    """How alike a student's teachers err, and how much each of them was given to say in the end."""
    students = [c.run_id for c in record.cells if c.role == "student"]
    most = max((len(study.runs[run].parents) for run in students), default=0)
    weights = _last_weights(study, students, num_teachers=most)
    cases = {tuple(c.case.items()): c.case for c in record.cells if c.role == "student"}
    rows = []
    for case in cases.values():
        runs = [c.run_id for c in matching_cells(record, "student", case)]
        texts = [
            _mean([study.value(r, name) for r in runs], digits=digits)
            for name, (_, digits) in ENSEMBLE_COLUMNS.items()
        ]
        texts += [_mean([weights.get((r, i)) for r in runs], digits=2) for i in range(most)]
        if any(text != format_number(None) for text in texts):
            rows.append((case_title(case), *texts))
    note = (
        "Percent; correlation of errors between teachers, video by video: 1 is the same mistakes, 0 independent ones; "
        "each teacher's share of the soft target in the last epoch."
    )
    head = (
        "Case",
        *(title for title, _ in ENSEMBLE_COLUMNS.values()),
        *(f"Weight of T{i + 1}" for i in range(most)),
    )
    return (
        TextTable(title="How the teachers differ", note=note, head=head, rows=tuple(rows))
        if rows
        else None
    )


def _last_weights(
    study: Study, run_ids: Sequence[str], *, num_teachers: int
) -> dict[tuple[str, int], float]:
    """(run, place of the teacher) -> weight. A file that cannot be read is named where the curves
    are drawn.
    """
    names = {f"teacher_weight_{i}": i for i in range(num_teachers)}
    if not names:
        return {}
    frame = read_curves(study.runs_dir, run_ids, names=list(names)).frame.sort("step")
    last = frame.group_by("run_id", "name", maintain_order=True).last()
    return {
        (run, names[name]): value
        for run, name, value in last.select("run_id", "name", "value").iter_rows()
        if value is not None
    }


def _mean(values: Sequence[float | None], *, digits: int) -> str:
    known = [v for v in values if v is not None]
    return format_number(statistics.fmean(known) if known else None, digits=digits)
