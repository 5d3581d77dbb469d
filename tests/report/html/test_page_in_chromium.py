"""The page in a browser; skipped without Chromium, unless KDBATCH_REQUIRE_CHROMIUM=1."""

import re
from pathlib import Path

from support.browser import observe, observe_in_frames
from support.studies import BuiltReport

PROBE = """
  const table = document.querySelector("table.grid");
  const rows = () => [...table.tBodies[0].rows]
    .filter(row => !row.classList.contains("part"))
    .map(row => row.cells[0].textContent);
  const heads = table.tHead.rows[table.tHead.rows.length - 1].cells;
  const before = rows();
  heads[1].querySelector("button").click();
  const falling = rows();
  heads[1].querySelector("button").click();
  const rising = rows();
  let copied = "";
  const writeText = text => { copied = text; return Promise.resolve(); };
  Object.defineProperty(navigator, "clipboard", {value: {writeText}});
  const titles = [...document.querySelectorAll("p.copy button")].map(each => each.textContent);
  document.querySelector('p.copy[data-latex*="tab:table1"] button').click();
  const figures = [...document.querySelectorAll("figure .parts:not(.key) > svg")]
    .filter(svg => !svg.closest(".view[hidden]")).map(svg => svg.getBoundingClientRect().width);
  const wide = document.documentElement.scrollWidth - document.documentElement.clientWidth;
  const paper = getComputedStyle(document.body).backgroundColor;
  return {errors: window.errors, copied, titles, before, falling, rising, figures, wide, paper};
"""


def test_the_page_opens_without_errors_its_figures_are_seen_and_its_tables_sort(
    chromium: str, finished_report: BuiltReport, tmp_path: Path
) -> None:
    page = finished_report.summary.page
    seen = observe(chromium, page, PROBE, tmp_path / "c", "--window-size=1280,1600")
    assert seen["errors"] == []
    assert seen["figures"] and all(width > 100 for width in seen["figures"])
    assert seen["before"] == ["T1 ShuffleNet", "T2 R(2+1)D", "Student ShuffleNet"]
    assert seen["falling"] == ["Student ShuffleNet", "T2 R(2+1)D", "T1 ShuffleNet"]
    assert seen["rising"] == seen["falling"][::-1]
    table = finished_report.report_dir / "tables" / "table1.tex"
    assert seen["copied"] == table.read_text(encoding="utf-8")
    assert set(seen["titles"]) == {"Copy as LaTeX", "Copy as Markdown"}


def test_a_narrow_window_needs_no_sideways_scrolling_and_a_dark_one_is_dark(
    chromium: str, finished_report: BuiltReport, tmp_path: Path
) -> None:
    page, size = finished_report.summary.page, "--window-size=500,900"
    dark_scheme = "--blink-settings=preferredColorScheme=0"
    light = observe(chromium, page, PROBE, tmp_path / "light", size)
    dark = observe(chromium, page, PROBE, tmp_path / "dark", size, dark_scheme)
    assert light["wide"] <= 0 and dark["wide"] <= 0
    assert brightness(dark["paper"]) < 200 < 600 < brightness(light["paper"])


def test_on_a_phone_the_intervals_of_a_claim_are_whole(
    chromium: str, finished_report: BuiltReport, tmp_path: Path
) -> None:
    probe = """
      const claims = [...document.querySelectorAll(".claim .scroll")];
      return [claims.length, claims.map(place => place.scrollWidth - place.clientWidth)];
    """
    page = finished_report.summary.page
    seen = observe_in_frames(chromium, page, probe, tmp_path / "c", [(390, "light")])
    num_claims, cut = seen["390 light"]
    assert num_claims >= 4 and max(cut) <= 0


def brightness(colour: str) -> int:
    """Return the sum of red, green and blue in `rgb(...)`."""
    return sum(map(int, re.findall(r"\d+", colour)[:3]))
