"""Opens pages in a headless Chromium, and reads what a script of the test sees there."""

import html
import json
import os
import re
import shutil
import subprocess
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
window.addEventListener("load", () => {
  const observed = (() => {PROBE})();
  const output = document.createElement("pre");
  output.id = "probe";
  output.textContent = JSON.stringify(observed);
  document.body.append(output);
});
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
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert not re.findall(r"CONSOLE.*", done.stderr), done.stderr
    output = re.search(r'<pre id="probe">(.*?)</pre>', done.stdout, re.DOTALL)
    assert output, done.stdout[-2000:] + done.stderr[-2000:]
    return json.loads(html.unescape(output[1]))
