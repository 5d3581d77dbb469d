"""docs/OWN_STUDY.md is typed, block by block, in a folder of its own where its package is new."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.inputs import JOBS
from support.own_code import EXAMPLE, pip_install

ROOT = JOBS.parent
PAGE = (ROOT / "docs" / "OWN_STUDY.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(?:\w+ (\S+))?\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def type_line(line: str, *, folder: Path, site: Path) -> None:
    """Type a line as a shell would, where what pip installs goes to `site`."""
    program, *words = shlex.split(line)
    if program == "pip":
        assert ROOT / words[-1].removeprefix("CLONE/") == EXAMPLE
        shutil.copytree(EXAMPLE, site.parent / "source")
        pip_install(site.parent / "source", site)
        return
    hidden = ("SLURM", "KDBATCH", "PYTEST")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(hidden)}
    paths = f"{site}:{kept.get('PYTHONPATH', '')}".removesuffix(":")
    before = {"kdbatch": ("-m", "kdbatch"), "python": ()}[program]
    done = subprocess.run(
        [sys.executable, *before, *words],
        cwd=folder,
        env=kept | {"PYTHONPATH": paths},
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert done.returncode == 0 and "Traceback" not in done.stderr, (line, done)


@pytest.mark.slow
def test_the_page_walks_from_class_folders_to_a_claim_that_holds(tmp_path: Path) -> None:
    folder, site = tmp_path / "study", tmp_path / "site"
    folder.mkdir()
    for name, text in BLOCKS:
        if name:
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            continue
        for line in text.splitlines():
            type_line(line, folder=folder, site=site)
    report = json.loads((folder / "report" / "report.json").read_text())
    verdicts = {claim["claim"]["id"]: claim["verdict"] for claim in report["claims"]}
    assert verdicts["student_learns"] == "holds", report
    assert "Tiny3D" in (folder / "report" / "tables" / "gestures_accuracy.md").read_text()
    recipes = [json.loads(p.read_text())["run"] for p in folder.glob("runs/r*/run.json")]
    coded = [run["recipe"]["kind"] for run in recipes if run["code"]]
    assert sorted(set(coded)) == ["distill", "finetune", "import"] and len(coded) == 13
