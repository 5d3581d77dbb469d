"""The contents of the page as values, before they are written as HTML."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kdbatch.report.data.cka_maps import MEASURE_TITLES, LoadedMap
from kdbatch.report.data.efficiency import Efficiency
from kdbatch.report.data.run_facts import RunFacts
from kdbatch.report.data.study import Study, cases_of, matching_cells
from kdbatch.report.figures.saved import SavedFigure
from kdbatch.report.labels import NO_VALUE, case_title, format_hours, format_number
from kdbatch.report.stats.claims import CheckedClaim
from kdbatch.report.stats.gains import Gains
from kdbatch.report.stats.verdicts import VERDICTS, ClaimVerdict
from kdbatch.report.tables.grid import Grid
from kdbatch.result.read import read_curves
from kdbatch.vocab.plans.records import PlanRecord
from kdbatch.vocab.views import CLIP_RATES_HEAD, CLIP_RATES_NOTE

# Measures of a student's teachers: column title and number of digits.
ENSEMBLE_COLUMNS: dict[str, tuple[str, int]] = {
    "teacher_ensemble_top1": ("Ensemble top-1", 1),
    "teacher_oracle_top1": ("Any teacher right", 1),
    "teacher_error_correlation": ("Error correlation", 2),
}


MAP_GLOSSARY: dict[str, str] = {
    "block index": "Block index: how strong blocks of alike layers are.",
    "z": "z: how surely there are any, in standard deviations of maps without order; a weak "
    "pattern of many layers has a small index and a large z.",
    "grid share": "Grid share: the share of a map's variance that kinds of layers explain.",
    "block share": "Block share: the share that contiguous segments explain after them.",
    "longest run (≥ .9)": "Longest run: neighbouring layers that are pairwise at least 0.9 alike, "
    "as a share of all layers.",
    "mean RSA": "Mean RSA: the mean of another measure of similarity, between the clips' "
    "distances.",
    "PC1 share": "PC1 share: the variance that a layer's first principal component has.",
    "drop without PC1": "Drops: the part of the similarity inside segments that is lost without "
    "each layer's first principal component, or without the clips of the largest norm.",
}


@dataclass(frozen=True, kw_only=True)
class TextTable:
    """A plain table of texts; the first column is aligned left, the others right. `runs` are the
    ids of those behind each row.
    """

    title: str
    note: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    runs: tuple[tuple[str, ...], ...] = ()


@dataclass(frozen=True, kw_only=True)
class Chapter:
    """One experiment of the page. Each grid comes with the base name of its files."""

    record: PlanRecord
    runs: tuple[RunFacts, ...]
    grids: tuple[tuple[str, Grid], ...]
    figures: tuple[SavedFigure, ...]
    text_tables: tuple[TextTable, ...]
    claims: tuple[CheckedClaim, ...]
    gains: Gains
    cost_figure: SavedFigure | None = None

    @property
    def num_done(self) -> int:
        return count_done(self.runs)


def chapter_anchor(chapter: Chapter) -> str:
    """Return the id of the section, to which links on the page lead."""
    return f"{chapter.record.experiment}-{chapter.record.profile}"


def chapter_titles(chapters: Sequence[Chapter]) -> list[str]:
    """Return the experiments' titles, with the profile where a title occurs several times."""
    titles = [chapter.record.title for chapter in chapters]
    unique = []
    for title, chapter in zip(titles, chapters, strict=True):
        is_unique = titles.count(title) == 1
        unique.append(title if is_unique else f"{title} (profile {chapter.record.profile})")
    return unique


def count_done(runs: Sequence[RunFacts]) -> int:
    """Return the number of runs that are done."""
    return sum(run.state == "done" for run in runs)


def hours_left(runs: Sequence[RunFacts]) -> float | None:
    """Return the planned device-hours of the runs that are not done; None where one has none, as
    in plans of older versions.
    """
    planned = [run.planned_hours for run in runs if run.state != "done"]
    known = [hours for hours in planned if hours is not None]
    return sum(known) if len(known) == len(planned) else None


def count_verdicts(claims: Sequence[CheckedClaim]) -> dict[ClaimVerdict, int]:
    """Return the number of claims by corrected verdict; one that does not occur counts 0."""
    return {verdict: sum(c.corrected == verdict for c in claims) for verdict in VERDICTS}


def frame_rate_table(record: PlanRecord) -> TextTable | None:
    """Return the rates of the videos and the share of repeated frames, or None for a plan of an
    older version.
    """
    if not record.rates:
        return None
    head = tuple(title.capitalize() for title in CLIP_RATES_HEAD)
    rows = tuple(rate.texts for rate in record.rates)
    return TextTable(title="Frame rates", note=CLIP_RATES_NOTE, head=head, rows=rows)


def pretraining_table(runs: Sequence[RunFacts], study: Study) -> TextTable | None:
    """Return the accuracy of every pretraining run in its pretext task, or None without one."""
    rows, behind = [], []
    for run in runs:
        accuracy = study.value(run.run_id, "pretext_accuracy")
        if run.kind == "pretrain" and accuracy is not None:
            chance = study.value(run.run_id, "pretext_chance")
            speed = study.value(run.run_id, "clips_per_second")
            numbers = format_number(accuracy), format_number(chance), format_number(speed, digits=0)
            rows.append((run.title, *numbers))
            behind.append((run.run_id,))
    if not rows:
        return None
    note = (
        "Accuracy in the pretext task itself, in percent, mean of the last epoch. "
        "A backbone near chance has learned nothing."
    )
    head = ("Run", "Accuracy", "Chance", "Clips/s")
    return TextTable(
        title="Pretraining", note=note, head=head, rows=tuple(rows), runs=tuple(behind)
    )


def map_table(maps: Sequence[LoadedMap]) -> TextTable | None:
    """Return what was measured on each CKA map, or None where nothing was."""
    used = [title for title in MEASURE_TITLES.values() if any(title in m.numbers for m in maps)]
    if not used:
        return None
    rows = []
    for cka in maps:
        rows.append((cka.declared.title, *(cka.numbers.get(title, NO_VALUE) for title in used)))
    glossary = [MAP_GLOSSARY[title] for title in used if title in MAP_GLOSSARY]
    head = ("Map", *(title[:1].upper() + title[1:] for title in used))
    return TextTable(
        title="Order in the CKA maps",
        note=" ".join(glossary),
        head=head,
        rows=tuple(rows),
        runs=tuple(cka.run_ids for cka in maps),
    )


def teacher_agreement_table(record: PlanRecord, study: Study) -> TextTable | None:
    """Return how alike the teachers of a student err and their final weights, case by case, or None
    where no student has two teachers.
    """
    cells = [cell for cell in record.cells if cell.role == "student"]
    students = [c.run_id for c in cells if study.runs[c.run_id].num_teachers > 1]
    num_teachers = max((study.runs[run].num_teachers for run in students), default=0)
    weights = _last_weights(study, students, num_teachers=num_teachers)
    rows, behind = [], []
    for case in cases_of(record, "student"):
        in_case = {cell.run_id for cell in matching_cells(record, "student", case)}
        runs = [run for run in students if run in in_case]
        texts = _agreement_texts(study, runs, weights, num_teachers=num_teachers)
        if any(text != NO_VALUE for text in texts):
            rows.append((case_title(case, record.titles), *texts))
            behind.append(tuple(runs))
    if not rows:
        return None
    note = (
        "Accuracies in percent. Error correlation is measured between teachers, video by video: 1 "
        "means the same mistakes, 0 independent ones. A weight is a teacher's share of the soft "
        "target in the last epoch."
    )
    measure_titles = [title for title, _ in ENSEMBLE_COLUMNS.values()]
    weight_titles = [f"Weight of T{i + 1}" for i in range(num_teachers)]
    head = ("Case", *measure_titles, *weight_titles)
    return TextTable(
        title="Teacher agreement", note=note, head=head, rows=tuple(rows), runs=tuple(behind)
    )


def efficiency_table(rows: Sequence[Efficiency]) -> TextTable | None:
    """Return accuracy and cost of each role and network, or None while nothing is measured."""
    if all(row.accuracy is None for row in rows):
        return None
    note = (
        "Means over cases and seeds. Multiply-adds (10\u2079) are those of one clip, clips/s those "
        "of training, hours those of one run, and with those that it learns from. Idle is the "
        "share of training without work for the device. Front: no other network is as accurate for "
        "fewer hours; it is known once all of them are measured."
    )
    head = ("Role", "Network", "Top-1", "Parameters", "Multiply-adds", "Clips/s", "Idle")
    head += ("Device time", "With teachers", "Front")
    texts = []
    for row in rows:
        millions = None if row.parameters is None else row.parameters / 1e6
        numbers = (
            format_number(row.accuracy),
            NO_VALUE if millions is None else f"{format_number(millions, digits=2)} M",
            NO_VALUE if row.gmac is None else f"{row.gmac:.3g}",
            format_number(row.clips_per_second, digits=0),
            NO_VALUE if row.idle_percent is None else f"{row.idle_percent:.0f} %",
            format_hours(row.device_hours),
            format_hours(row.total_hours),
        )
        texts.append((row.title, row.network, *numbers, "yes" if row.is_on_front else ""))
    runs = tuple(row.run_ids for row in rows)
    return TextTable(title="Efficiency", note=note, head=head, rows=tuple(texts), runs=runs)


def _agreement_texts(
    study: Study,
    runs: Sequence[str],
    weights: Mapping[tuple[str, int], float],
    *,
    num_teachers: int,
) -> list[str]:
    texts = []
    for name, (_, digits) in ENSEMBLE_COLUMNS.items():
        texts.append(_mean_text([study.value(run, name) for run in runs], digits=digits))
    for i in range(num_teachers):
        texts.append(_mean_text([weights.get((run, i)) for run in runs], digits=2))
    return texts


def _last_weights(
    study: Study, run_ids: Sequence[str], *, num_teachers: int
) -> dict[tuple[str, int], float]:
    """Return the last weight by (run id, index of the teacher).

    A file that cannot be read gives no warning here: drawing the curves gives one.
    """
    index_of = {f"teacher_weight_{i}": i for i in range(num_teachers)}
    if not index_of:
        return {}
    curves = read_curves(study.runs_dir, run_ids, names=list(index_of), done=study.done).frame.sort(
        "step"
    )
    last = curves.group_by("run_id", "name", maintain_order=True).last()
    weights = {}
    for run, name, value in last.select("run_id", "name", "value").iter_rows():
        if value is not None:
            weights[run, index_of[name]] = value
    return weights


def _mean_text(values: Sequence[float | None], *, digits: int) -> str:
    measured = [value for value in values if value is not None]
    return format_number(statistics.fmean(measured) if measured else None, digits=digits)
