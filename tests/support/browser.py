"""Opens pages in a headless Chromium, and reads what a script of the test sees there."""

import html
import json
import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

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


HOOK = """
window.errors = [];
window.addEventListener("error", event => window.errors.push(String(event.message)));
window.addEventListener("load", async () => {
  const observed = await (async () => {PROBE})();
  const output = document.createElement("pre");
  output.id = "probe";
  output.textContent = JSON.stringify(observed);
  document.body.append(output);
});
"""

FRAMES = """
  const [page, probe, views] = INPUTS;
  const found = {};
  for (const [width, scheme] of views) {
    const frame = document.createElement("iframe");
    Object.assign(frame.style, {width: `${width}px`, height: "900px", colorScheme: scheme});
    frame.style.border = 0;
    frame.srcdoc = page;
    const loaded = new Promise(resolve => { frame.onload = resolve; });
    document.body.append(frame);
    await loaded;
    const script = frame.contentDocument.createElement("script");
    script.textContent = `window.observed = (async () => {${probe}})()`;
    frame.contentDocument.head.append(script);
    found[`${width} ${scheme}`] = await frame.contentWindow.observed;
    frame.remove();
  }
  return found;
"""


@pytest.fixture(scope="session")
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


def observe(chromium: str, page: Path, probe: str, folder: Path, *flags: str) -> dict[str, Any]:
    """Open a copy of the page, from disk and without a network; return what the probe returns.

    The probe is the body of a function of JavaScript, called when the page is loaded.
    `window.errors` are the errors of its scripts until then.
    """
    folder.mkdir()
    copy = folder / "index.html"
    text = page.read_text(encoding="utf-8")
    assert "</head>" in text
    probed = text.replace("</head>", f"<script>{HOOK.replace('PROBE', probe)}</script></head>", 1)
    copy.write_text(probed, encoding="utf-8")
    profile = f"--user-data-dir={folder / 'profile'}"
    command = [chromium, *FLAGS, profile, *flags, copy.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert not re.findall(r"CONSOLE.*", done.stderr), done.stderr
    output = re.search(r'<pre id="probe">(.*?)</pre>', done.stdout, re.DOTALL)
    assert output, done.stdout[-2000:] + done.stderr[-2000:]
    return json.loads(html.unescape(output[1]))


def observe_in_frames(
    chromium: str, page: Path, probe: str, folder: Path, views: Sequence[tuple[int, str]]
) -> dict[str, Any]:
    """Open the page in a frame for each view, a width in pixels and light or dark; one browser for
    all.

    A window of a browser has at least 500 pixels, a frame may have those of a phone. Returns what
    the probe returns, an `await` allowed in it, by "<width> light" and "<width> dark".
    """
    inputs = json.dumps([page.read_text(encoding="utf-8"), probe, views])
    frames = FRAMES.replace("INPUTS", inputs.replace("<", "\\u003c"))
    folder.mkdir()
    around = folder / "around.html"
    around.write_text("<html><head></head><body></body></html>", encoding="utf-8")
    return observe(chromium, around, frames, folder / "frames")
