"""Writes one experiment as a section of the page: tables, figures, claims, cost, provenance."""

from collections import Counter
from collections.abc import Callable, Sequence
from itertools import groupby

from kdbatch.base.text import plural
from kdbatch.report.data.run_facts import RunFacts
from kdbatch.report.escape import escape_html
from kdbatch.report.figures.saved import SavedFigure
from kdbatch.report.html.claims import claim_html
from kdbatch.report.html.front import gains_table, question_html
from kdbatch.report.html.sections import Chapter, TextTable, chapter_anchor, hours_left
from kdbatch.report.html.tables import copy_html, grid_html, table_html, text_table_html
from kdbatch.report.labels import NO_VALUE, format_number
from kdbatch.report.tables.formats import to_latex, to_markdown
from kdbatch.report.tables.grid import Grid
from kdbatch.vocab.done import StageFacts
from kdbatch.vocab.plans.declarations import Untestable
from kdbatch.vocab.recipes.recipe import RECIPE_KINDS

PROVENANCE_TITLES: dict[str, str] = {
    "kdbatch_version": "kdbatch",
    "git_sha": "commit",
    "lock_sha256": "lock file",
    "image_sha256": "image",
    "image_base": "base of the image",
    "python_version": "Python",
    "torch_version": "PyTorch",
    "cuda_version": "CUDA",
    "rocm_version": "ROCm",
    "device": "device",
    "host": "host",
}
_CLAIM_METHOD = (
    "<details><summary>How a claim is checked</summary><p class='faint'>"
    "Both sides of a comparison are measured on the same test videos. Groups of videos of one "
    "scene or film are resampled 10,000 times with replacement, with the same draws for both "
    "sides. Where there are several seeds, each draw gets an error from Student's distribution, as "
    "wide as the seeds differ in all cases of this form. The "
    "middle 95 % of the differences are the interval in brackets. With one seed the interval "
    "covers other videos only: the variation between trainings is not in it. A claim of several "
    "comparisons holds when every interval clears its threshold. It fails when one of the "
    "intervals, widened for the number of comparisons, lies on the other side. Otherwise it is "
    "undecided. Block indexes of maps have no test videos to resample: their interval is Student's "
    "over seeds, and with one seed there is none.</p></details>"
)


def chapter_html(chapter: Chapter, *, is_single: bool) -> str:
    """Return the whole section; a part without results is left out. The first screen of a
    `is_single` experiment already has its question and gains.
    """
    parts = [
        _head(chapter),
        "" if is_single else question_html(chapter) + gains_table(chapter),
        *(_grid(name, grid) for name, grid in chapter.grids),
        *(
            family_html(family, list(figures))
            for family, figures in groupby(chapter.figures, lambda figure: figure.family)
        ),
        f"<h3>Claims</h3>{_CLAIM_METHOD}" if chapter.claims else "",
        *(claim_html(claim) for claim in chapter.claims),
        untestable_html(chapter.record.untestable),
        *(_text_table(table) for table in chapter.text_tables),
        family_html("", [chapter.cost_figure] if chapter.cost_figure else []),
        f"<h3>Cost</h3>{cost_html(chapter.runs)}",
        f"<h3>Provenance</h3>{provenance_html(chapter.runs)}",
    ]
    return f'<section id="{escape_html(chapter_anchor(chapter))}">{"".join(parts)}</section>'


def family_html(family: str, figures: Sequence[SavedFigure]) -> str:
    """Return figures below their titles; figures.js shows one of a family, by choice."""
    if not family or len(figures) == 1:
        start = f"{family}: " if family else ""
        return "".join(
            f"<h3>{escape_html(start + each.title)}</h3>{figure_html(each)}" for each in figures
        )
    views = (
        f'<div class="view"><h4>{escape_html(each.title)}</h4>{figure_html(each)}</div>'
        for each in figures
    )
    return f'<h3>{escape_html(family)}</h3><div class="views">{"".join(views)}</div>'


def figure_html(figure: SavedFigure) -> str:
    """Return a figure inside the page, in parts that stand side by side, and links to its files."""
    links = ", ".join(
        f'<a href="figures/{escape_html(figure.name)}.{kind}">{kind}</a>' for kind in ("png", "pdf")
    )
    key = f'<div class="parts key">{"".join(figure.key)}</div>' if figure.key else ""
    caption = f"<figcaption>{escape_html(figure.caption)} {links}</figcaption>"
    return f'<figure><div class="parts">{"".join(figure.svgs)}</div>{key}{caption}</figure>'


def untestable_html(statements: Sequence[Untestable]) -> str:
    """Return the statements that cannot be tested, each with the reason."""
    if not statements:
        return ""
    items = "".join(
        f"<li>{escape_html(each.says)} <span class='faint'>{escape_html(each.why)}</span></li>"
        for each in statements
    )
    return f"<h3>Statements that cannot be tested</h3><ul class='untestable'>{items}</ul>"


def cost_html(runs: Sequence[RunFacts]) -> str:
    """Return a table of device-hours, attempts, and of two shares of training by kind of run: that
    in which the device was idle, and that in which its driver says that any kernel ran.
    """
    groups = {
        kind: [run for run in runs if run.kind == kind] for kind in (*RECIPE_KINDS, "unknown")
    }
    groups["all"] = list(runs)
    shown = {kind: of_kind for kind, of_kind in groups.items() if of_kind or kind == "all"}
    return table_html(
        ("Kind of run", "Done", "Device-hours", "Left, planned", "Idle", "GPU in use", "Attempts"),
        [(kind, *_cost(of_kind)) for kind, of_kind in shown.items()],
        runs=[[run.run_id for run in of_kind] for of_kind in shown.values()],
    )


def provenance_html(runs: Sequence[RunFacts]) -> str:
    """Return the versions and machines, each with its number of runs."""
    items = []
    for key, title in PROVENANCE_TITLES.items():
        values = [_provenance_value(run, key) for run in runs]
        counts = Counter(value for value in values if value)
        texts = []
        for value, num_runs in counts.items():
            note = f" ({plural(num_runs, 'run')})" if len(counts) > 1 else ""
            texts.append(f"<code>{escape_html(value[:60])}</code>{note}")
        if texts:
            items.append(f"<dt>{title}</dt><dd>{', '.join(texts)}</dd>")
    listing = f"<dl>{''.join(items)}</dl>" if items else ""
    return f'{listing}<p><a href="#runs">All runs</a></p>'


def _provenance_value(run: RunFacts, key: str) -> str:
    """A field of the provenance; earlier versions left the commit of an installation empty."""
    value: str = getattr(run.provenance, key)
    is_recorded = value or key != "git_sha" or not run.provenance.kdbatch_version
    return value if is_recorded else "unknown (not recorded)"


def _head(chapter: Chapter) -> str:
    record = chapter.record
    source = f" · {escape_html(record.source)}" if record.source else ""
    done = f"{chapter.num_done} of {plural(len(chapter.runs), 'run')} done"
    names = f"{escape_html(record.experiment)}, profile {escape_html(record.profile)}"
    return f'<h2>{escape_html(record.title)}</h2><p class="faint">{names} · {done}{source}</p>'


def _grid(name: str, grid: Grid) -> str:
    links = ", ".join(
        f'<a href="tables/{escape_html(name)}.{kind}">{kind}</a>' for kind in ("md", "csv", "tex")
    )
    caption = f'<p class="faint">{escape_html(grid.caption)} {links}</p>'
    copies = copy_html(to_latex(grid), to_markdown(grid))
    return f"<h3>{escape_html(grid.table.title)}</h3>{grid_html(grid)}{caption}{copies}"


def _text_table(table: TextTable) -> str:
    head = f"<h3>{escape_html(table.title)}</h3><p class='faint'>{escape_html(table.note)}</p>"
    return f'<div class="together">{head}{text_table_html(table)}</div>'


def _idle_text(runs: Sequence[RunFacts]) -> str:
    """The idle share of the runs that recorded one, weighted by their device-hours."""
    return _mean_percent(runs, lambda facts: facts.idle_percent)


def _mean_percent(
    runs: Sequence[RunFacts], percent_of: Callable[[StageFacts], float | None]
) -> str:
    known = [
        (percent, run.device_hours or 0.0)
        for run in runs
        if run.done and (percent := percent_of(run.done.facts)) is not None
    ]
    hours = sum(weight for _, weight in known)
    if not hours:
        return NO_VALUE
    share = sum(percent * weight for percent, weight in known) / hours
    return f"{format_number(share, digits=0)} %"


def _cost(runs: Sequence[RunFacts]) -> tuple[str, ...]:
    hours = [run.device_hours for run in runs if run.device_hours is not None]
    attempts = [run.attempts for run in runs if run.attempts is not None]
    done = sum(run.state == "done" for run in runs)
    return (
        f"{done} of {len(runs)}",
        format_number(sum(hours) if hours else None, digits=2),
        format_number(hours_left(runs), digits=2),
        _idle_text(runs),
        _mean_percent(runs, lambda facts: facts.gpu_utilisation_percent),
        f"{sum(attempts)}" if attempts else NO_VALUE,
    )
