"""The page in a browser; skipped without Chromium, unless KDBATCH_REQUIRE_CHROMIUM=1."""

import html
import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from support.studies import BuiltReport

# Runs in a copy of the page when it is loaded, and writes its observations into a <pre> at the end.
PROBE = """
window.errors = [];
window.addEventListener("error", event => window.errors.push(String(event.message)));
window.addEventListener("load", () => {
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
  const images = [...document.images].map(image => image.naturalWidth);
  const wide = document.documentElement.scrollWidth - document.documentElement.clientWidth;
  const paper = getComputedStyle(document.body).backgroundColor;
  const output = document.createElement("pre");
  output.id = "probe";
  const observed = {errors: window.errors, before, falling, rising, images, wide, paper};
  output.textContent = JSON.stringify(observed);
  document.body.append(output);
});
"""
NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-extensions",
    "--enable-logging=stderr",
    "--virtual-time-budget=10000",
    "--dump-dom",
)


@pytest.fixture(scope="module")
def chromium() -> str:
    paths = [path for path in map(shutil.which, NAMES) if path]
    if paths:
        return paths[0]
    if os.environ.get("KDBATCH_REQUIRE_CHROMIUM") == "1":
        pytest.fail(
            "KDBATCH_REQUIRE_CHROMIUM=1, but there is no chromium on PATH. Install it, for "
            "example: apt-get install chromium"
        )
    pytest.skip("no chromium on PATH")


def observe(chromium: str, page: Path, folder: Path, *flags: str) -> dict[str, Any]:
    """Open a copy of the page with the probe, from disk and without a network."""
    folder.mkdir()
    copy = folder / "index.html"
    text = page.read_text(encoding="utf-8")
    assert "</head>" in text
    probed = text.replace("</head>", f"<script>{PROBE}</script></head>", 1)
    copy.write_text(probed, encoding="utf-8")
    profile = f"--user-data-dir={folder / 'profile'}"
    command = [chromium, *FLAGS, profile, *flags, copy.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert not re.findall(r"CONSOLE.*", done.stderr), done.stderr
    output = re.search(r'<pre id="probe">(.*?)</pre>', done.stdout, re.DOTALL)
    assert output, done.stdout[-2000:] + done.stderr[-2000:]
    return json.loads(html.unescape(output[1]))


def test_the_page_opens_without_errors_its_images_load_and_its_tables_sort(
    chromium: str, finished_report: BuiltReport, tmp_path: Path
) -> None:
    page = finished_report.summary.page
    seen = observe(chromium, page, tmp_path / "c", "--window-size=1280,1600")
    assert seen["errors"] == []
    assert seen["images"] and all(width > 100 for width in seen["images"])
    assert seen["before"] == ["T1 ShuffleNet", "T2 R(2+1)D", "Student ShuffleNet"]
    assert seen["falling"] == ["Student ShuffleNet", "T2 R(2+1)D", "T1 ShuffleNet"]
    assert seen["rising"] == seen["falling"][::-1]


def test_a_narrow_window_needs_no_sideways_scrolling_and_a_dark_one_is_dark(
    chromium: str, finished_report: BuiltReport, tmp_path: Path
) -> None:
    page, size = finished_report.summary.page, "--window-size=500,900"
    dark_scheme = "--blink-settings=preferredColorScheme=0"
    light = observe(chromium, page, tmp_path / "light", size)
    dark = observe(chromium, page, tmp_path / "dark", size, dark_scheme)
    assert light["wide"] <= 0 and dark["wide"] <= 0
    assert brightness(dark["paper"]) < 200 < 600 < brightness(light["paper"])


def brightness(colour: str) -> int:
    """Return the sum of red, green and blue in `rgb(...)`."""
    return sum(map(int, re.findall(r"\d+", colour)[:3]))
