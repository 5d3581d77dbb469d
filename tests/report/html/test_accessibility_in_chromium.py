"""The page by the rules of WCAG 2, levels A and AA, as axe-core checks them in a browser.

Skipped without axe-core, unless KDBATCH_REQUIRE_AXE=1; `make axe` fetches it.
"""

import os
from pathlib import Path

import pytest
from support.browser import observe_in_frames
from support.studies import BuiltReport

AXE = Path(__file__).parents[3] / ".venv-axe/axe_playwright_python/axe.min.js"
PROBE = """
  const check = async place => {
    const tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"];
    const found = await axe.run(place, {runOnly: tags, resultTypes: ["violations"]});
    return [found.passes.length, found.violations.flatMap(({id, nodes}) => nodes.map(node =>
      `${id}: ${node.html.slice(0, 200)} ${node.any.map(check => check.message).join("; ")}`))];
  };
  const page = await check(document);
  document.querySelector(".key-table td:nth-child(5) button.number").click();
  return {page, dialog: await check(document.querySelector("dialog"))};
"""


@pytest.fixture(scope="session")
def axe() -> str:
    if not AXE.is_file():
        (pytest.fail if os.environ.get("KDBATCH_REQUIRE_AXE") == "1" else pytest.skip)(
            "axe-core is not here; say make axe"
        )
    return AXE.read_text(encoding="utf-8")


@pytest.mark.slow
def test_no_rule_of_accessibility_is_broken_by_the_page_or_the_dialog_of_a_run(
    chromium: str, axe: str, three_seed_report: BuiltReport, tmp_path: Path
) -> None:
    page = three_seed_report.summary.page
    views = ((390, "light"), (1400, "dark"))
    seen = observe_in_frames(chromium, page, axe + PROBE, tmp_path / "c", views)
    assert len(seen) == len(views)
    for view, places in seen.items():
        for place, (num_passed, violations) in places.items():
            assert num_passed > 5 and violations == [], (view, place)
