"""The text of `kdbatch plan`: the sums first, then what is missing, tables, and the runs."""

import textwrap
from collections.abc import Iterator, Mapping, Sequence

from kdbatch.base.command_lines import shard_command
from kdbatch.base.text import duration, plural
from kdbatch.launch.dry_run import describe_resources
from kdbatch.launch.machine import QueueKind
from kdbatch.plan.costs.rates import H200
from kdbatch.plan.costs.totals import PlanTotals, RateUse, Total, rates_of
from kdbatch.plan.subsets import ROOT_TO_FILL_IN, describe_missing, shard_commands
from kdbatch.vocab.plans.plan import Plan, PlannedRun
from kdbatch.vocab.recipes.recipe import subsets_of
from kdbatch.vocab.shards.index import is_older
from kdbatch.vocab.status import RunState
from kdbatch.vocab.views import CLIP_RATES_HEAD, CLIP_RATES_NOTE

TEXT_COLUMNS = 80


def plan_lines(
    plan: Plan,
    totals: PlanTotals,
    states: Mapping[str, RunState],
    *,
    queue: QueueKind,
    profile: str,
    on_gpus: Total | None,
    width: int | None,
) -> Iterator[str]:
    """The lines of a plan. Titles are folded at `width` columns; None leaves them whole. `on_gpus`
    is what it would cost on GPUs, where there are none.
    """
    yield from _sums(plan, totals, queue=queue, profile=profile, on_gpus=on_gpus)
    if plan.missing:
        yield ""
        yield from _missing(plan, slurm=queue == "slurm")
    yield from _encodings(plan.encodings)
    yield ""
    yield from _kinds(plan, totals, queue=queue)
    yield ""
    yield from _experiments(plan, totals)
    yield ""
    yield from _rates(plan)
    yield ""
    yield from _runs(plan.runs, states, width=width)


def _sums(
    plan: Plan, totals: PlanTotals, *, queue: QueueKind, profile: str, on_gpus: Total | None
) -> Iterator[str]:
    total = totals.all_runs
    cells = {
        (record.experiment, cell.role, tuple(cell.case.items()))
        for record in plan.records
        for cell in record.cells
        if cell.role.startswith("map:") or any(cell.role in table.rows for table in record.tables)
    }
    num_maps = sum(role.startswith("map:") for _, role, _ in cells)
    fills = plural(len(cells) - num_maps, "table cell")
    maps = f" and {plural(num_maps, 'map')}" if num_maps else ""
    is_provisional = "Provisional: " if plan.missing else ""
    yield (
        f"{is_provisional}{plural(total.num_runs, 'run')} ({total.num_done} done) "
        f"fill {fills}{maps} at profile {profile}."
    )
    if total.num_done == total.num_runs:
        return
    yield f"Compute  {hours_text(total, total)}, estimated"
    for rate in rates_of(plan.runs):
        text = f"{plural(rate.num_runs, 'run')} {_rate_text(rate)}"
        yield from textwrap.wrap(
            text, TEXT_COLUMNS, initial_indent=" " * 9, subsequent_indent=" " * 11
        )
    if on_gpus:
        yield f"         with GPUs {hours_text(on_gpus, on_gpus)}, assumed: {H200().title}"
    place = "site.max_concurrent of kdbatch.toml" if queue == "slurm" else "as on this machine"
    at_once = plural(totals.num_at_once, "run")
    yield f"Time     {time_text(totals.wall_hours)} with {at_once} at a time ({place})"
    kinds = ", ".join(planned.run.recipe.kind for planned in totals.chain.runs)
    yield f"         {time_text(totals.chain.hours)} with any number: {kinds} wait in turn"
    read = bytes_text(total.read_bytes)
    yield from _left_out(plan)
    yield f"Data     {bytes_text(plan.shard_bytes)} of shards, {read} read from them in all"


def _left_out(plan: Plan) -> Iterator[str]:
    """A line for each subset that videos are left out of."""
    for title, num_places, num in left_out_of(plan):
        of = f" of {num_places:,}" if num_places else ""
        yield f"Without  {num:,}{of} videos of {title}: a list names them as near-duplicates"


def left_out_of(plan: Plan) -> list[tuple[str, int, int]]:
    """(title, places, videos left out) of each subset that runs of the plan are trained on; 0
    places are all videos of a split that shares its part.
    """
    recipes = (planned.run.recipe for planned in plan.runs)
    subsets = dict.fromkeys(subset for recipe in recipes for subset in subsets_of(recipe)[:1])
    return [(s.title, s.num_places, len(s.without)) for s in subsets if s.without]


def _rate_text(rate: RateUse) -> str:
    if not rate.max_measured:
        names = f"; not measured: {', '.join(rate.unmeasured)}" if rate.unmeasured else ""
        return f"assumed: {rate.device}{names}"
    least, most = rate.min_measured, rate.max_measured
    finished = plural(most, "finished run")
    counts = finished if least == most else f"{least} to {finished}"
    them = "it" if rate.num_runs == 1 else "them"
    return f"measured on {counts} like {them} here ({rate.device})"


def _encodings(encodings: Mapping[str, str]) -> Iterator[str]:
    """Names data sets that an older version stored, and those that are not stored alike."""
    older = [name for name, encoding in encodings.items() if is_older(encoding)]
    if older:
        text = (
            f"Stored by an older version: {', '.join(older)}. Every second frame is a B-frame, "
            "from which a network can tell the speed of a clip; RSPNet and PRP ask for it. Runs "
            "read these shards as before. To store them again, which changes ids of runs, type "
            "the command that this one prints:"
        )
        yield ""
        yield from textwrap.wrap(text, TEXT_COLUMNS)
        yield from (f"  {shard_command(name)}" for name in older)
    if len(set(encodings.values())) > 1:
        forms = ", ".join(f"{name} as '{encoding}'" for name, encoding in encodings.items())
        yield ""
        yield from textwrap.wrap(
            f"Data sets are not stored alike, and are compared so: {forms}.", TEXT_COLUMNS
        )


def _missing(plan: Plan, *, slurm: bool) -> Iterator[str]:
    text = (
        f"{describe_missing(plan.missing)} Until they are, sizes are the published ones, and "
        "the ids of the runs are not known. submit needs all of them:"
    )
    yield from textwrap.wrap(text, TEXT_COLUMNS)
    yield from (f"  {command}" for command in shard_commands(plan.missing, slurm=slurm))
    unknown = [m.request.dataset for m in plan.missing if m.request.root == ROOT_TO_FILL_IN]
    if unknown:
        text = (
            f"{ROOT_TO_FILL_IN} is the folder of the data set's videos. Without --root it is read "
            f'from kdbatch.toml: [datasets.{unknown[0]}] root = "{ROOT_TO_FILL_IN}"'
        )
        yield from textwrap.wrap(text, TEXT_COLUMNS)


def _kinds(plan: Plan, totals: PlanTotals, *, queue: QueueKind) -> Iterator[str]:
    """A row per kind; what its runs request counts with SLURM alone."""
    requests = {
        p.run.recipe.kind: describe_resources(p.resources)
        + (f"; {p.resources.runs_per_job} share a job" if p.resources.runs_per_job > 1 else "")
        for p in plan.runs
    }
    rows = [
        (kind, str(t.num_runs), str(t.num_done), hours_text(t, totals.all_runs), requests[kind])
        for kind, t in totals.by_kind.items()
    ]
    table = (("kind", "runs", "done", "left", "each requests"), *rows)
    return _table([row if queue == "slurm" else row[:-1] for row in table], right=(1, 2, 3))


def _experiments(plan: Plan, totals: PlanTotals) -> Iterator[str]:
    rows = [
        (name, str(t.num_runs), str(t.num_shared), str(t.num_done), hours_text(t, totals.all_runs))
        for name, t in totals.by_experiment.items()
    ]
    header = ("experiment", "runs", "shared", "done", "left")
    yield from _table([header, *rows], right=(1, 2, 3, 4))
    if totals.all_runs.num_shared:
        yield "A run that experiments share counts in each of them; it is trained once."


def _rates(plan: Plan) -> Iterator[str]:
    """A row per subset and timeline."""
    rates = dict.fromkeys(rate for record in plan.records for rate in record.rates)
    yield from _table([CLIP_RATES_HEAD, *(rate.texts for rate in rates)], right=(3, 4))
    yield from textwrap.wrap(CLIP_RATES_NOTE, TEXT_COLUMNS)


def _runs(
    runs: Sequence[PlannedRun], states: Mapping[str, RunState], *, width: int | None
) -> Iterator[str]:
    """A row per run; a column whose every cell would be the same is left out."""
    is_shared = any(len(planned.used_by) > 1 for planned in runs)
    columns: dict[str, list[str]] = {}
    if not all(planned.provisional for planned in runs):
        columns["run"] = ["provisional" if p.provisional else p.run.id for p in runs]
    if set(states.values()) != {"planned"}:
        columns["state"] = [states[planned.run.id] for planned in runs]
    columns["takes"] = [time_text(planned.hours) for planned in runs]
    if is_shared:
        columns["in"] = [str(len(planned.used_by)) for planned in runs]
    columns["what"] = [planned.title for planned in runs]
    right = [i for i, name in enumerate(columns) if name in ("takes", "in")]
    lines = _table([tuple(columns), *zip(*columns.values(), strict=True)], right=right)
    header = next(lines)
    indent = header.index("what")
    yield header
    for line in lines:
        yield from _folded(line, width, indent=indent)
    if is_shared:
        yield "in: the number of experiments that need the run"


def hours_text(part: Total, whole: Total) -> str:
    """The hours of `part` in the unit that suits the `whole`: `5,310 GPU-hours`, `1.20 CPU-min`."""
    is_long = sum(whole.device_hours.values()) >= 1
    factor, unit = (1, "hours") if is_long else (60, "min")
    return (
        " + ".join(
            f"{_number(factor * hours)} {device}-{unit}"
            for device, hours in part.device_hours.items()
        )
        or "-"
    )


def time_text(hours: float) -> str:
    """A duration in its unit; from two days on in days."""
    return f"{_number(hours / 24)} days" if hours >= 48 else duration(3600 * hours)


def bytes_text(num_bytes: float) -> str:
    """`42 GB`, `3.1 MB`."""
    units = ["PB", "TB", "GB", "MB", "kB", "B"]
    while num_bytes >= 1000 and len(units) > 1:
        num_bytes /= 1000
        units.pop()
    return f"{_number(num_bytes)} {units[-1]}"


def _number(value: float) -> str:
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _folded(line: str, width: int | None, *, indent: int) -> list[str]:
    """The line, or its parts of `width` columns: the end of a title is below its beginning."""
    if width is None:
        return [line]
    parts = textwrap.wrap(line[indent:], max(width - indent, 20), break_long_words=False)
    return [line[:indent] + parts[0], *(" " * indent + part for part in parts[1:])]


def _table(rows: Sequence[Sequence[str]], *, right: Sequence[int]) -> Iterator[str]:
    """The rows in columns; those of `right` are aligned to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [
            cell.rjust(size) if i in right else cell.ljust(size)
            for i, (cell, size) in enumerate(zip(row, widths, strict=True))
        ]
        yield "  ".join(cells).rstrip()
