"""Writes the list of contents, which stands next to the page where the window is wide enough."""

import re

# Headings as sections and chapters write them.
_HEADING = re.compile(r'<section id="([^"]+)"[^>]*>\s*<h2>(.*?)</h2>|<h3>(.*?)</h3>', re.DOTALL)


def with_contents(body: str) -> tuple[str, str]:
    """Return the list of a page's headings, and the body in which each `<h3>` has an id."""
    items: list[tuple[str, list[str]]] = []

    def visit(heading: re.Match[str]) -> str:
        anchor, title, part = heading.groups()
        if part is None:
            items.append((_link(anchor, title), []))
            return heading[0]
        if not items:
            return heading[0]
        anchor = f"part-{len(items)}-{len(items[-1][1]) + 1}"
        items[-1][1].append(_link(anchor, part))
        return f'<h3 id="{anchor}">{part}</h3>'

    body = _HEADING.sub(visit, body)
    lines = "".join(f"<li>{link}{_list(parts)}</li>" for link, parts in items)
    return f'<nav class="contents" aria-label="Contents"><ul>{lines}</ul></nav>', body


def _link(anchor: str, title: str) -> str:
    """The title is already escaped."""
    return f'<a href="#{anchor}">{title}</a>'


def _list(links: list[str]) -> str:
    return f"<ul>{''.join(f'<li>{link}</li>' for link in links)}</ul>" if links else ""
