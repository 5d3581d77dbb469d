"""One experiment as a section of the page: table, figures, claims, cost, provenance."""

from collections.abc import Sequence

from kdbatch.base.text import plural
from kdbatch.report.data.study import RunFacts
from kdbatch.report.escape import escape_html
from kdbatch.report.figures.base import SavedFigure
from kdbatch.report.html.claims import claim_html
from kdbatch.report.html.sections import Chapter
from kdbatch.report.html.tables import grid_html, table_html, text_table_html
from kdbatch.report.labels import NO_VALUE, format_number
from kdbatch.report.tables.grid import Grid
from kdbatch.vocab.recipes import RECIPE_KINDS

PROVENANCE_TITLES: dict[str, str] = {
    "kdbatch_version": "kdbatch",
    "git_sha": "commit",
    "lock_sha256": "lock file",
    "image_sha256": "image",
    "python_version": "Python",
    "torch_version": "PyTorch",
    "cuda_version": "CUDA",
    "device": "device",
    "host": "host",
}


def chapter_html(chapter: Chapter) -> str:
    """The whole section; a part that has nothing to show yet is left out, and the summary says why."""
    record = chapter.record
    parts = [
        f"<h2>{escape_html(record.title)}</h2>",
        f'<p class="faint">{escape_html(record.experiment)}, profile {escape_html(record.profile)} · {chapter.num_done} of '
        f"{plural(len(chapter.runs), 'run')} done{_source(record.source)}</p>",
        *(_grid(name, grid) for name, grid in chapter.grids),
        *(figure_html(drawing) for drawing in chapter.figures),
        "<h3>Claims, checked</h3>" + _CLAIM_METHOD if chapter.claims else "",
        *(claim_html(claim) for claim in chapter.claims),
        *(
            f"<h3>{escape_html(li.title)}</h3><p class='faint'>{escape_html(li.note)}</p>{text_table_html(li)}"
            for li in chapter.text_tables
        ),
        "<h3>What it cost</h3>" + cost_html(chapter.runs),
        "<h3>Where the numbers come from</h3>" + provenance_html(chapter.runs),
    ]
    return f'<section id="{escape_html(chapter_anchor(chapter))}">{"".join(parts)}</section>'


def chapter_anchor(chapter: Chapter) -> str:
    return f"{chapter.record.experiment}-{chapter.record.profile}"


_CLAIM_METHOD = (
    "<details><summary>How a claim is checked</summary><p class='faint'>Both sides of a comparison are measured on the same test videos. "
    "The videos are drawn anew 2000 times, with replacement and for both sides alike; where there are several seeds, each draw gets an "
    "error from Student's distribution, as wide as the seeds differ. The middle 95 % of the differences are the interval in brackets. "
    "With one seed it speaks of other videos alone: what training again would change is not in it. A claim of several comparisons holds "
    "when every interval clears its threshold, and fails when one of them, widened for their number, lies on the other side; else it is "
    "undecided. Block indexes of maps have no test videos to draw from: their interval is Student's, over seeds, and with one seed there "
    "is none.</p></details>"
)


def figure_html(drawing: SavedFigure) -> str:
    """The image itself, not a link to it."""
    files = f'<a href="figures/{escape_html(drawing.name)}.png">png</a>, <a href="figures/{escape_html(drawing.name)}.pdf">pdf</a>'
    width = drawing.width_pixels * 0.6  # of the file's dots: sharp on fine screens
    size = f'width="{drawing.width_pixels}" height="{drawing.height_pixels}" style="width:{width:.0f}px;min-width:{min(width, 480):.0f}px"'
    image = f'<img src="{drawing.data_uri}" {size} alt="{escape_html(f"{drawing.title}. {drawing.caption}")}">'
    return (
        f'<h3>{escape_html(drawing.title)}</h3><figure><div class="scroll" tabindex="0">{image}</div>'
        f"<figcaption>{escape_html(drawing.caption)} {files}</figcaption></figure>"
    )


def cost_html(runs: Sequence[RunFacts]) -> str:
    """Device-hours and attempts by kind of run; what is known so far."""
    rows = []
    for kind in (*RECIPE_KINDS, "unknown"):
        chosen = [run for run in runs if run.kind == kind]
        if chosen:
            rows.append((kind, *_cost(chosen)))
    rows.append(("all", *_cost(runs)))
    return table_html(("Kind of run", "Done", "Device-hours", "Attempts"), rows)


def provenance_html(runs: Sequence[RunFacts]) -> str:
    """Versions and machines, each with how many runs it stands for, and every run by name."""
    items = []
    for key, title in PROVENANCE_TITLES.items():
        found: dict[str, int] = {}
        for run in runs:
            if value := getattr(run.provenance, key):
                found[value] = found.get(value, 0) + 1
        if found:
            texts = [
                f"<code>{escape_html(value[:60])}</code>"
                + (f" ({plural(n, 'run')})" if len(found) > 1 else "")
                for value, n in found.items()
            ]
            items.append(f"<dt>{title}</dt><dd>{', '.join(texts)}</dd>")
    listed = []
    for run in runs:
        spent, host = format_number(run.device_hours, digits=3), run.provenance.host
        listed.append(
            (run.title, run.run_id, run.kind, run.state, _count_text(run.attempts), spent, host)
        )
    head = ("Run", "Id", "Kind", "State", "Attempts", "Device-hours", "Host")
    every = f"<details><summary>All {plural(len(runs), 'run')}</summary>{table_html(head, listed, left=4)}</details>"
    return (f"<dl>{''.join(items)}</dl>" if items else "") + every


def _grid(name: str, grid: Grid) -> str:
    links = ", ".join(
        f'<a href="tables/{escape_html(name)}.{kind}">{kind}</a>' for kind in ("md", "csv", "tex")
    )
    return f'<h3>{escape_html(grid.table.title)}</h3>{grid_html(grid)}<p class="faint">{escape_html(grid.caption)} {links}</p>'


def _cost(runs: Sequence[RunFacts]) -> tuple[str, str, str]:
    known = [run.device_hours for run in runs if run.device_hours is not None]
    tries = [run.attempts for run in runs if run.attempts is not None]
    done = sum(run.state == "done" for run in runs)
    return (
        f"{done} of {len(runs)}",
        format_number(sum(known) if known else None, digits=2),
        f"{sum(tries)}" if tries else NO_VALUE,
    )


def _count_text(value: int | None) -> str:
    return NO_VALUE if value is None else str(value)


def _source(source: str) -> str:
    return f" · {escape_html(source)}" if source else ""
