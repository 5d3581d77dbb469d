"""The page as a browser has it. Skipped where there is no Chromium, unless
KDBATCH_REQUIRE_CHROMIUM=1.
"""

import html
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

# Runs in a copy of the page when everything is loaded, and leaves what it saw in a <pre> at the
# end.
PROBE = """
window.errors = [];
window.addEventListener("error", event => window.errors.push(String(event.message)));
window.addEventListener("load", () => {
  const table = document.querySelector("table.grid");
  const rows = () => [...table.tBodies[0].rows].filter(r => !r.classList.contains("part")).map(r => r.cells[0].textContent);
  const heads = table.tHead.rows[table.tHead.rows.length - 1].cells;
  const before = rows();
  heads[1].querySelector("button").click();
  const falling = rows();
  heads[1].querySelector("button").click();
  const rising = rows();
  const images = [...document.images].map(image => image.naturalWidth);
  const wide = document.documentElement.scrollWidth - document.documentElement.clientWidth;
  const paper = getComputedStyle(document.body).backgroundColor;
  const said = document.createElement("pre");
  said.id = "probe";
  said.textContent = JSON.stringify({errors: window.errors, before, falling, rising, images, wide, paper});
  document.body.append(said);
});
"""


@pytest.fixture(scope="module")
def chromium() -> str:
    found = (
        shutil.which("chromium")
        or shutil.which("chromium-browser")
        or shutil.which("google-chrome")
    )
    if not found and os.environ.get("KDBATCH_REQUIRE_CHROMIUM") == "1":
        pytest.fail(
            "KDBATCH_REQUIRE_CHROMIUM=1, but there is no chromium on PATH. Install it, for example: apt-get install chromium"
        )
    return found or pytest.skip("no chromium on PATH")


def look(chromium: str, page: Path, folder: Path, *flags: str) -> dict:
    """Open a copy of the page that carries the probe, from disk and without a network."""
    folder.mkdir()
    copy = folder / "index.html"
    text = page.read_text(encoding="utf-8")
    assert "</head>" in text
    copy.write_text(
        text.replace("</head>", f"<script>{PROBE}</script></head>", 1), encoding="utf-8"
    )
    words = [
        chromium,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--no-first-run",
        "--disable-background-networking",
    ]
    words += [
        "--disable-component-update",
        "--disable-sync",
        "--disable-extensions",
        f"--user-data-dir={folder / 'profile'}",
    ]
    words += [
        "--enable-logging=stderr",
        "--virtual-time-budget=10000",
        *flags,
        "--dump-dom",
        copy.as_uri(),
    ]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120)
    assert not re.findall(r"CONSOLE.*", done.stderr), done.stderr
    found = re.search(r'<pre id="probe">(.*?)</pre>', done.stdout, re.DOTALL)
    assert found, done.stdout[-2000:] + done.stderr[-2000:]
    return json.loads(html.unescape(found[1]))


def test_the_page_opens_without_errors_its_pictures_load_and_its_tables_sort(
    chromium: str, one_seed, tmp_path: Path
) -> None:
    seen = look(chromium, one_seed.summary.page, tmp_path / "c", "--window-size=1280,1600")
    assert seen["errors"] == [] and seen["images"] and all(width > 100 for width in seen["images"])
    assert seen["before"] == ["T1 ShuffleNet", "T2 R(2+1)D", "Student ShuffleNet"]
    assert (
        seen["falling"] == ["Student ShuffleNet", "T2 R(2+1)D", "T1 ShuffleNet"]
        and seen["rising"] == seen["falling"][::-1]
    )


def test_a_narrow_window_needs_no_sideways_scrolling_and_a_dark_one_is_dark(
    chromium: str, one_seed, tmp_path: Path
) -> None:
    light = look(chromium, one_seed.summary.page, tmp_path / "light", "--window-size=500,900")
    dark = look(
        chromium,
        one_seed.summary.page,
        tmp_path / "dark",
        "--window-size=500,900",
        "--blink-settings=preferredColorScheme=0",
    )
    assert light["wide"] <= 0 and dark["wide"] <= 0
    darkness = {
        name: sum(map(int, re.findall(r"\d+", seen["paper"])[:3]))
        for name, seen in (("light", light), ("dark", dark))
    }
    assert darkness["dark"] < 200 < 600 < darkness["light"]
