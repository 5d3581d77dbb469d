"""Writes the chapter on what moved since an earlier report."""

from kdbatch.base.text import plural
from kdbatch.report.changes.compare import HEAD, Changes
from kdbatch.report.escape import escape_html
from kdbatch.report.html.tables import table_html

_MAX_ROWS = 200


def changes_html(changes: Changes | None) -> str:
    """Return the chapter; empty where no report was named."""
    if changes is None:
        return ""
    parts = [f"<p>{escape_html(changes.summary)}</p>"]
    if changes.left_out:
        names = escape_html("; ".join(changes.left_out))
        parts.append(f'<p class="faint">Not compared: {names}.</p>')
    rows = changes.rows
    if rows:
        parts.append(table_html(HEAD, rows[:_MAX_ROWS], num_text_columns=len(HEAD)))
        links = ", ".join(f'<a href="tables/changes.{k}">{k}</a>' for k in ("md", "csv", "tex"))
        hidden = len(rows) - _MAX_ROWS
        more = f"and {plural(hidden, 'more row')} in the files. " if hidden > 0 else ""
        parts.append(
            f'<p class="faint">{more}A difference that the printed digits do not show is none. '
            f"{links}</p>"
        )
    title = f"<h2>Changes since {escape_html(changes.against)}</h2>"
    return f'<section id="changes">{title}{"".join(parts)}</section>'
