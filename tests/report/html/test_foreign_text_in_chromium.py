"""The twenty foreign strings as every text of the page, in a browser."""

from pathlib import Path

import pytest
from support.browser import observe
from support.foreign_study import LONG_WORD, TEXTS, TITLES, write_foreign_study

from kdbatch.base.output.visible_text import visible
from kdbatch.report.build import build_report

PROBE = """
  window.alert = text => window.errors.push("a script of the text ran: " + text);
  const texts = selector => [...document.querySelectorAll(selector)].map(e => e.textContent);
  const body = document.body.getBoundingClientRect();
  const outside = [...document.querySelectorAll("h1, h2, h3, p, nav, article, .scroll, li, dl")]
    .filter(e => e.getClientRects().length && e.getBoundingClientRect().right > body.right + 1)
    .map(e => e.outerHTML.slice(0, 200));
  return {
    errors: window.errors,
    tags: [...new Set([...document.querySelectorAll("*")].map(e => e.localName))],
    handlers: [...document.querySelectorAll("*")]
      .flatMap(e => e.getAttributeNames()).filter(name => name.startsWith("on")),
    links: [...document.links].map(a => a.getAttribute("href")),
    scripts: document.scripts.length,
    rows: texts("table.grid tbody th[scope=row]"),
    columns: texts("table.grid thead th[colspan]"),
    claims: texts("article.claim .says"),
    statements: texts(".untestable li"),
    reasons: texts("#missing td"),
    facts: [...texts("details td"), ...texts("dd")],
    headings: texts("h3"),
    titles: texts("h2"),
    captions: texts("figcaption"),
    wide: document.documentElement.scrollWidth - document.documentElement.clientWidth,
    outside,
  };
"""
TAGS = """
html head meta title style script body header p h1 h2 h3 h4 nav a ul li i span div main section
table thead tbody tr th td button strong b figure figcaption article svg line circle details summary
code dl dt dd footer pre form label input select option output dialog text path image
"""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("foreign")
    write_foreign_study(folder / "runs")
    return build_report(folder / "runs", to=folder / "report").page


@pytest.mark.parametrize("width", [1280, 400])
def test_no_text_is_markup_runs_or_breaks_the_layout(
    chromium: str, page: Path, tmp_path: Path, width: int
) -> None:
    seen = observe(chromium, page, PROBE, tmp_path / "c", f"--window-size={width},1600")
    assert seen["errors"] == [] and seen["handlers"] == []
    assert set(seen["tags"]) <= set(TAGS.split())
    assert seen["scripts"] == 4  # the data of the runs, the page's two, the probe
    assert all(link.startswith(("#", "tables/", "figures/")) for link in seen["links"])
    assert seen["wide"] <= 0 and seen["outside"] == []


def test_every_text_is_shown_as_it_is(chromium: str, page: Path, tmp_path: Path) -> None:
    seen = observe(chromium, page, PROBE, tmp_path / "c", "--window-size=1280,1600")
    shown = list(map(shown_text, TEXTS))
    titles = list(map(shown_text, TITLES))
    assert seen["rows"] == titles
    assert all(title in seen["columns"] for title in titles)
    assert seen["claims"] == [f"{text} {LONG_WORD}" for i, text in enumerate(shown) if i != 2]
    assert seen["statements"] == [f"{text} {text} {LONG_WORD}" for text in shown]
    assert all(text in seen["reasons"] for text in shown)
    facts = " ".join(seen["facts"])
    assert all(text in facts for text in shown)
    assert titles[3] in seen["headings"]
    assert all(title in " ".join(seen["titles"]) for title in titles)
    assert any(titles[3] in text for text in seen["captions"])


def shown_text(text: str) -> str:
    """The text that escape_html lets through: all but the characters that a terminal would obey."""
    return "\n".join(map(visible, text.split("\n")))
