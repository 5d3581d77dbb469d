"""Writes the table of all runs, and the data from which runs.js shows what is behind a number."""

import json
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

from kdbatch.base.command_lines import logs_command, resume_command, submit_command
from kdbatch.base.output.visible_text import visible
from kdbatch.base.text import plural
from kdbatch.report.data.run_details import RunDetails
from kdbatch.report.data.run_facts import RunFacts
from kdbatch.report.data.study import Study
from kdbatch.report.escape import escape_html
from kdbatch.report.html.tables import runs_attribute
from kdbatch.report.labels import NO_VALUE, case_title, format_number, metric_title
from kdbatch.report.stats.bootstrap import wilson_interval
from kdbatch.vocab.plans.records import PlanRecord

# The number that stands for a run: the first of these that it has measured.
MAIN_METRICS = ("top1", "recall_at_1", "pretext_accuracy", "block_index")
# Of the table: title, class, and the name of the value by which runs.js sorts.
RUN_COLUMNS = (
    ("Run", "text", "title"),
    ("Id", "text", "id"),
    ("Kind", "text", "kind"),
    ("State", "text", "state"),
    ("Seed", "num", "seed"),
    ("Result", "num", "value"),
    ("Videos", "num", "videos"),
    ("Device-hours", "num", "hours"),
    ("Idle %", "num", "idle"),
    ("Attempts", "num", "attempts"),
    ("Host", "text", "host"),
)
_NOTE = (
    "Every run once, with its main result in percent (of a map of layers, its block index) and "
    "Wilson's 95 % interval over test videos. The title of a run, and most numbers of this page, "
    "open the runs behind them: recipe, parents, curves, accuracy by class, log and command."
)
_CONTROLS = (
    '<form role="search" hidden><label>Search <input type="search" '
    'placeholder="title, id, host, role"></label>{selects}'
    '<output aria-live="polite"></output></form>'
)


def runs_html(data: dict[str, Any]) -> str:
    """Return the section with the table of all runs: whole and closed for browsers without scripts;
    runs.js makes the rows of it that are shown.
    """
    selects = "".join(
        f'<label>{name.capitalize()} <select data-by="{name}"><option value="">all</option>'
        "</select></label>"
        for name in ("kind", "state", "experiment")
    )
    heads = "".join(
        f'<th scope="col" class="{kind}" data-by="{name}">{title}</th>'
        for title, kind, name in RUN_COLUMNS
    )
    rows = "".join(map(_row, data["runs"]))
    return (
        f'<section id="runs"><h2>All runs</h2><p class="faint">{_NOTE}</p>'
        f"{_CONTROLS.format(selects=selects)}"
        f"<noscript><details><summary>All {plural(len(data['runs']), 'run')}</summary>"
        f'<div class="scroll" tabindex="0"><table><thead><tr>{heads}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div></details></noscript>"
        '<button type="button" class="more" hidden></button></section>'
    )


def script_json(data: dict[str, Any]) -> str:
    """Return the data as a block of the page; no text in it can end the block."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
    return f'<script type="application/json" id="run-data">{text}</script>'


def run_data(runs: Sequence[RunFacts], study: Study, details: RunDetails) -> dict[str, Any]:
    """Return all that runs.js shows. A recipe, which many runs share, is a list of indexes into
    `fields`, which has (name, value).
    """
    fields: dict[tuple[str, str], int] = {}
    recipes: dict[tuple[int, ...], int] = {}
    roles = _roles(study.records)
    rows = []
    for run in runs:
        pairs = run.recipe_pairs or ()
        recipe = tuple(fields.setdefault((k, _shown(v)), len(fields)) for k, v in pairs)
        row = dict(_facts(run, study))
        row["recipe"] = recipes.setdefault(recipe, len(recipes))
        row["roles"] = roles.get(run.run_id, [])
        for name in ("curves", "right", "confusions"):
            row[name] = getattr(details, name).get(run.run_id)
        row["log"] = _shown(details.logs.get(run.run_id, ""))
        rows.append({name: value for name, value in row.items() if value not in (None, "", [])})
    return {
        "folder": study.runs_dir.name,
        "logs": logs_command("ID"),
        "runs": rows,
        "fields": list(fields),
        "recipes": list(recipes),
        "experiments": [_experiment(record) for record in study.records],
        "tests": [
            {"classes": list(map(_shown, test.classes)), "videos": test.num_videos}
            for test in details.tests
        ],
    }


def _facts(run: RunFacts, study: Study) -> Iterator[tuple[str, Any]]:
    metric = next((m for m in MAIN_METRICS if study.value(run.run_id, m) is not None), "")
    value, videos = study.value(run.run_id, metric), study.value(run.run_id, "test_videos")
    yield from (("id", run.run_id), ("title", _shown(run.title)), ("kind", run.kind))
    yield from (("state", run.state), ("seed", run.seed), ("parents", list(run.parents)))
    if value is not None:
        yield from (("value", round(value, 4)), ("metric", metric))
        if metric == "top1" and videos and 0 <= value <= 100:
            low, high = wilson_interval(value, int(videos))
            yield "interval", [round(low, 1), round(high, 1)]
    yield "videos", int(videos) if videos else None
    yield "hours", None if run.device_hours is None else round(run.device_hours, 4)
    idle = run.done.facts.idle_percent if run.done else None
    yield "idle", None if idle is None else round(idle)
    yield from (("attempts", run.attempts), ("host", _shown(run.provenance.host)))
    yield from (("finished", run.finished_at), ("reason", _shown(run.reason)))


def _roles(records: Sequence[PlanRecord]) -> dict[str, list[tuple[int, str]]]:
    """Return the index of the experiment, and role and case in it, for each use of each run."""
    roles: dict[str, dict[tuple[int, str], None]] = {}
    for i, record in enumerate(records):
        for cell in record.cells:
            role = record.roles.get(cell.role, cell.role)
            use = i, _shown(f"{role}, {case_title(cell.case, record.titles)}")
            roles.setdefault(cell.run_id, {})[use] = None
    return {run_id: list(uses) for run_id, uses in roles.items()}


def _experiment(record: PlanRecord) -> dict[str, str]:
    command = resume_command()
    if submitted := record.submitted:
        command = submit_command(
            [submitted.file], profile=record.profile, local=submitted.local, jobs=submitted.jobs
        )
    return {"title": _shown(f"{record.title} ({record.profile})"), "command": command}


def _row(run: dict[str, Any]) -> str:
    cells = []
    for _, kind, name in RUN_COLUMNS[1:]:
        value = run.get(name, NO_VALUE if kind == "num" else "")
        text = _result(run) if name == "value" else escape_html(value)
        cells.append(f'<td class="{kind}">{text}</td>')
    head = f'<th scope="row"{runs_attribute([run["id"]])}>{escape_html(run["title"])}</th>'
    return f'<tr class="run">{head}{"".join(cells)}</tr>'


def _result(run: dict[str, Any]) -> str:
    if "value" not in run:
        return NO_VALUE
    note = metric_title(run["metric"])
    digits = 2 if run["metric"] == "block_index" else 1
    if "interval" in run:
        note = "[{}, {}]".format(*map(format_number, run["interval"]))
    text = format_number(run["value"], digits=digits)
    return f'{text} <span class="sd">{escape_html(note)}</span>'


@cache  # thousands of recipes have the same values
def _shown(text: str) -> str:
    """The text with line feeds, and without the characters that a terminal would obey."""
    return "\n".join(map(visible, text.split("\n")))
