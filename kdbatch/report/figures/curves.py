"""Draws learning curves by optimizer step: a figure per kind, a panel per case, a line per role.

Pretraining has figures of its own, with a line for the role that was pretrained.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

import polars as pl

from kdbatch.report.data.study import Study
from kdbatch.report.figures.drawing import Area, Drawing, InchBox, Markers, panel_grid
from kdbatch.report.figures.panels import (
    LEGEND_LINE_INCHES,
    Axis,
    Panel,
    Range,
    draw_frame,
    draw_legend,
    legend_shape,
    range_of,
    round_ticks,
    stroke_of,
)
from kdbatch.report.figures.role_styles import RoleStyle, role_styles
from kdbatch.report.labels import case_title
from kdbatch.result.read import read_curves
from kdbatch.vocab.plans.records import PlanRecord

_Place = tuple[object, ...]  # a stage, a panel and a role
_Case = tuple[tuple[str, str], ...]
MAX_POINTS = 100
MAX_CURVE_PANELS = 12
MAX_CURVE_SEEDS = 5
_MAX_COLUMNS = 4
_BAND_OPACITY = 0.16


@dataclass(frozen=True, kw_only=True)
class CurveKind:
    """A curve that runs have: its title, the title of its axis, and the range of the axis, if all
    of them have one. A `percent` is stored as a share or as a percentage.
    """

    title: str
    axis: str
    limits: Range | None = None
    is_percent: bool = False


PERCENT_LIMITS = (0.0, 102.0)
CURVE_KINDS: dict[str, CurveKind] = {
    "accuracy": CurveKind(
        title="Accuracy",
        axis="accuracy (%)",
        limits=PERCENT_LIMITS,
        is_percent=True,
    ),
    "held_out_accuracy": CurveKind(
        title="Accuracy on held-out videos",
        axis="held-out accuracy (%)",
        limits=PERCENT_LIMITS,
        is_percent=True,
    ),
    "loss": CurveKind(title="Loss", axis="loss"),
    "lr": CurveKind(title="Learning rate", axis="learning rate"),
    "idle_share": CurveKind(
        title="Idle share of the device",
        axis="idle (%)",
        limits=PERCENT_LIMITS,
        is_percent=True,
    ),
}
PRETRAINING = "pretraining_"
_STAGES = {"": "during training", PRETRAINING: "during pretraining"}
CURVE_FIGURES = tuple(f"{stage}{name}" for stage in _STAGES for name in CURVE_KINDS)


@dataclass(frozen=True, kw_only=True)
class CurvePoints:
    """Steps, and at each the mean, the least and the largest value over seeds."""

    steps: list[float]
    means: list[float]
    lows: list[float]
    highs: list[float]

    @property
    def is_band(self) -> bool:
        return self.lows != self.highs


@dataclass(frozen=True, kw_only=True)
class _Panel:
    title: str
    curves: Mapping[str, CurvePoints]  # by role


@dataclass(frozen=True, kw_only=True)
class _PanelRuns:
    """The runs of a panel by role, and what their cases have in common."""

    case: _Case
    runs: Mapping[str, Sequence[str]]


def draw_curves(record: PlanRecord, study: Study) -> tuple[dict[str, Drawing], tuple[str, ...]]:
    """Draw each kind of curve, for up to MAX_CURVE_PANELS cases, over up to MAX_CURVE_SEEDS seeds.

    Returns drawings by CURVE_FIGURES, none of a kind that no run has, and warnings about files that
    could not be read. The files of later seeds are not read.
    """
    trained = _panels(record)
    panels_of = {"": trained, PRETRAINING: _pretraining(trained, study)}
    places: dict[_Place, list[str]] = {
        (stage, i, role): _first_done(runs, study)
        for stage, panels in panels_of.items()
        for i, panel in enumerate(panels)
        for role, runs in panel.runs.items()
    }
    run_ids = dict.fromkeys(run for runs in places.values() for run in runs)
    result = read_curves(study.runs_dir, list(run_ids), names=list(CURVE_KINDS), done=study.done)
    by_place = _over_seeds(result.frame, places)
    styles = role_styles(list(record.roles), record.references)
    drawings = {}
    for stage, name in ((stage, name) for stage in _STAGES for name in CURVE_KINDS):
        shown = []
        for i, panel in enumerate(panels_of[stage]):
            of_role = {role: (name, stage, i, role) for role in panel.runs}
            found = {role: by_place[at] for role, at in of_role.items() if at in by_place}
            if found:
                title = case_title(dict(panel.case), record.titles)
                shown.append(_Panel(title=title, curves=found))
        if shown:
            drawings[stage + name] = _draw_panels(shown, record.roles, styles, stage, name)
    return drawings, result.warnings


def _panels(record: PlanRecord) -> list[_PanelRuns]:
    """All runs of each case, by role; lowest seeds first."""
    by_case: dict[_Case, dict[str, list[str]]] = {}
    for cell in record.cells:
        if not cell.role.startswith("map:"):
            by_case.setdefault(tuple(cell.case.items()), {role: [] for role in record.roles})
    for cell in sorted(record.cells, key=lambda cell: (cell.seed, cell.fold)):
        if not cell.role.startswith("map:"):
            by_case[tuple(cell.case.items())].setdefault(cell.role, []).append(cell.run_id)
    return [_PanelRuns(case=case, runs=runs) for case, runs in by_case.items()]


def _first_done(runs: Iterable[str], study: Study) -> list[str]:
    done = (run for run in dict.fromkeys(runs) if study.runs[run].state == "done")
    return list(islice(done, MAX_CURVE_SEEDS))


def _pretraining(panels: Sequence[_PanelRuns], study: Study) -> list[_PanelRuns]:
    """The pretraining of the runs of these panels. Cases that share all of it share a panel; roles
    that share it, such as a teacher and the probes of its features, share a line.
    """
    cases_of: dict[tuple[tuple[str, tuple[str, ...]], ...], list[_Case]] = {}
    for panel in panels:
        role_of: dict[tuple[str, ...], str] = {}
        for role, runs in panel.runs.items():
            parents = dict.fromkeys(each for run in runs for each in study.runs[run].parents)
            role_of.setdefault(tuple(p for p in parents if study.runs[p].kind == "pretrain"), role)
        lines = tuple((role, runs) for runs, role in role_of.items() if runs)
        cases_of.setdefault(lines, []).append(panel.case)
    return [
        _PanelRuns(
            case=tuple(pair for pair in cases[0] if all(pair in case for case in cases)),
            runs=dict(lines),
        )
        for lines, cases in cases_of.items()
    ]


def _over_seeds(
    frame: pl.DataFrame, places: Mapping[_Place, Sequence[str]]
) -> dict[_Place, CurvePoints]:
    """Return one curve for each name of a curve and place; percentages are in percent."""
    numbered = list(places)
    pairs = [(i, run) for i, place in enumerate(numbered) for run in places[place]]
    schema = {"place": pl.Int64, "run_id": pl.String}
    share = pl.col("name").is_in([name for name, kind in CURVE_KINDS.items() if kind.is_percent])
    scale = pl.when(share & (pl.col("unit") != "percent")).then(100.0).otherwise(1.0)
    curves = (
        _usable(frame)
        .with_columns(value=pl.col("value") * scale)
        .join(pl.DataFrame(pairs, schema=schema, orient="row"), on="run_id")
        .group_by("name", "place", "step")
        .agg(mean=pl.col("value").mean(), low=pl.col("value").min(), high=pl.col("value").max())
        .sort("name", "place", "step")
    )
    groups = curves.group_by("name", "place", maintain_order=True)
    return {(str(name), *numbered[place]): thin_curve(curve) for (name, place), curve in groups}


def thin_curve(curve: pl.DataFrame) -> CurvePoints:
    """Return at most MAX_POINTS points: neighbours are averaged."""
    bin_size = -(-curve.height // MAX_POINTS)
    bins = curve.with_columns(bin=pl.int_range(pl.len()) // bin_size)
    points = bins.group_by("bin", maintain_order=True).agg(
        pl.col("step", "mean", "low", "high").mean()
    )
    steps, means, lows, highs = (points[name].to_list() for name in ("step", "mean", "low", "high"))
    return CurvePoints(steps=steps, means=means, lows=lows, highs=highs)


def _usable(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.filter(pl.col("value").is_finite(), pl.col("step").is_not_null())


def _draw_panels(
    panels: Sequence[_Panel],
    titles: Mapping[str, str],
    styles: Mapping[str, RoleStyle],
    stage: str,
    name: str,
) -> Drawing:
    kind, caption = CURVE_KINDS[name], _caption(len(panels), stage, name)
    panels = panels[:MAX_CURVE_PANELS]
    num_rows, num_columns = panel_grid(len(panels), max_columns=_MAX_COLUMNS)
    width = max(2.5 * num_columns + 0.5, 5.4)
    used = dict.fromkeys(role for panel in panels for role in panel.curves)
    legend_lines, legend_columns = legend_shape([titles[role] for role in used], width)
    height = 2.2 * num_rows + 0.33 + LEGEND_LINE_INCHES * legend_lines
    title = f"{kind.title} {_STAGES[stage]}"
    drawing = Drawing(width=width, height=height, title=title, caption=caption, family="Curves")
    for i, panel in enumerate(panels):
        left, top = 0.6 + 2.5 * (i % num_columns), 0.32 + 2.2 * (i // num_columns)
        inner_width = 2.05 if num_columns > 1 else width - 0.85
        box = (left, height - (top + 1.45), inner_width, 1.45)
        drawing.begin_part((left - 0.6, box[1] - 0.53, inner_width + 0.7, 2.3))
        _draw_panel(drawing, panel, styles, titles, kind, box=box)
    draw_legend(
        drawing,
        [(styles[role], titles[role]) for role in used],
        middle=width / 2,
        top=0.1 + LEGEND_LINE_INCHES * legend_lines,
        num_columns=legend_columns,
        has_markers=False,
    )
    return drawing


def _draw_panel(
    drawing: Drawing,
    curves: _Panel,
    styles: Mapping[str, RoleStyle],
    titles: Mapping[str, str],
    kind: CurveKind,
    *,
    box: InchBox,
) -> None:
    """Draw the curves of one case above their bands; a curve of one point is a dot."""
    steps = [step for curve in curves.curves.values() for step in curve.steps]
    ends = [end for curve in curves.curves.values() for end in (*curve.lows, *curve.highs)]
    panel = Panel(box=box, x=range_of(steps), y=kind.limits or range_of(ends))
    draw_frame(
        drawing,
        panel,
        title=curves.title,
        x=Axis(ticks=round_ticks(panel.x, at_most=4), title="optimizer step"),
        y=Axis(ticks=round_ticks(panel.y, at_most=7), title=kind.axis),
        title_points=8,
        tick_points=7,
        label_points=7.5,
    )
    ordered = sorted(curves.curves.items(), key=lambda item: styles[item[0]].rank)
    for role, curve in ordered:
        if curve.is_band:
            there = map(panel.place, curve.steps, curve.highs)
            back = map(panel.place, reversed(curve.steps), reversed(curve.lows))
            corners = (*there, *back)
            colour = styles[role].colour
            drawing.add(Area(corners=corners, colour=colour, opacity=_BAND_OPACITY, clip=box))
    for role, curve in ordered:
        style, points = styles[role], tuple(map(panel.place, curve.steps, curve.means))
        if len(points) == 1:
            drawing.add(Markers(at=points, shape="o", size=3, colour=style.colour))
        drawing.add(stroke_of(style, points, share=0.8, inside=panel, name=titles[role]))


def _caption(num_cases: int, stage: str, name: str) -> str:
    sentences = [
        f"Mean of each epoch, over the first {MAX_CURVE_SEEDS} finished seeds at most; bands reach "
        "from the least to the largest of them.",
    ]
    if stage == PRETRAINING:
        sentences.append(
            "Of the pretraining behind each model; losses and accuracies of different pretext "
            "tasks cannot be compared."
        )
    elif name == "accuracy":
        sentences.append("On training clips. Students and controls share one schedule.")
    if num_cases > MAX_CURVE_PANELS:
        sentences.append(f"The first {MAX_CURVE_PANELS} of {num_cases} cases.")
    return " ".join(sentences)
