"""A new user's walk: every command of the GUIDE and of the README, typed in a folder outside of the
clone, on small toy videos, at the scale of the profile `micro`.

A fake SLURM queues the jobs and this test runs their scripts, one after the other. `SCALED` lists
all that is typed otherwise than it is printed.
"""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
from support.inputs import JOBS
from support.slurm import run_queued_elements

ROOT = JOBS.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
GUIDE = (ROOT / "docs" / "GUIDE.md").read_text(encoding="utf-8")
SCHEMA = (ROOT / "docs" / "RESULTS_SCHEMA.md").read_text(encoding="utf-8")

pytestmark = pytest.mark.slow

# The toys have 16 videos, and the six experiments take eleven minutes even at the scale of micro.
SCALED = {
    " --subset 100k": "",
    " --subset 50k": "",
    " --subset 30k": "",
    "submit jobs/*.yaml": "submit jobs/subset_size.yaml",
}
MICRO = ("plan ", "submit ")
# Typed on a real SLURM by the tests of the cluster, and by those of the trackers.
NOT_TYPED = ("doctor --submit", "sync mlflow tracking", "sync wandb PROJECT")


def commands(text: str, *, heading: str) -> list[str]:
    """The lines of the code blocks below a heading that call kdbatch or cp, without comments."""
    section = text.split(f"\n{heading}\n", 1)[1].split("\n## ")[0]
    blocks = re.findall(r"^```\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    lines = [line.split("#")[0].strip() for block in blocks for line in block.splitlines()]
    found = [line for line in lines if line.split()[:1] in (["kdbatch"], ["cp"])]
    assert found, f"no command below {heading!r}"
    return [line for line in found if line.removeprefix("kdbatch ") not in NOT_TYPED]


def scaled(line: str) -> str:
    for printed, typed in SCALED.items():
        line = line.replace(printed, typed)
    if line.removeprefix("kdbatch ").startswith(MICRO) and "--profile" not in line:
        line += " --profile micro"
    return line


class Walk:
    """Types commands in the study's folder as a shell would, without settings of this process."""

    def __init__(self, folder: Path, slurm: Path) -> None:
        self.folder, self.slurm = folder, slurm
        hidden = ("SLURM", "KDBATCH", "PYTHONPATH", "PYTEST")
        self.environment = {
            name: value for name, value in os.environ.items() if not name.startswith(hidden)
        }

    def start(self, line: str) -> subprocess.Popen[str]:
        program, *words = shlex.split(line)
        words = [
            str(path.relative_to(self.folder)) if "*" in word else word
            for word in words
            for path in (sorted(self.folder.glob(word)) if "*" in word else [Path(word)])
        ]
        before = [sys.executable, "-m", "kdbatch"] if program == "kdbatch" else [program]
        environment = self.environment
        if words[:1] == ["doctor"]:  # it would find out that the SLURM is a fake
            path = environment["PATH"].replace(f"{self.slurm}:", "")
            environment = environment | {"PATH": path}
        return subprocess.Popen(
            [*before, *words],
            cwd=self.folder,
            env=environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def type(self, line: str) -> str:
        """Type a line, with its scale, and return its output. It must end well, without a trace."""
        line = scaled(line)
        started = self.start(line)
        if "--watch" in line:
            self.run_jobs()
        output, errors = started.communicate(timeout=300)
        assert started.returncode == 0 and "Traceback" not in errors, (line, output, errors)
        if "--slurm" in line:
            self.run_jobs()
        return output + errors

    def run_jobs(self) -> None:
        for ended in run_queued_elements(self.slurm):
            assert ended.returncode == 0, ended

    def run_of_kind(self, kind: str) -> str:
        for path in sorted((self.folder / "runs").glob("r*/run.json")):
            if json.loads(path.read_text())["run"]["recipe"]["kind"] == kind:
                return path.parent.name
        raise AssertionError(f"no run of kind {kind}")


@pytest.fixture
def walk(tmp_path: Path, slurm: Path) -> Walk:
    (tmp_path / "study").mkdir()
    walk = Walk(tmp_path / "study", slurm)
    walk.type("kdbatch toy ../videos --size small")
    return walk


def fill_in_the_folders_of_the_videos(walk: Walk) -> None:
    path = walk.folder / "kdbatch.toml"
    tables = [
        f'[datasets.{name}]\nroot = "{(walk.folder.parent / "videos" / name).resolve()}"\n'
        for name in ("k400", "ssv2", "ucf101", "hmdb51")
    ]
    path.write_text("\n".join([path.read_text(), *tables]))


def test_the_guide_and_the_readme_walk_from_an_empty_folder_to_a_report(walk: Walk) -> None:
    _install_and_store(walk)
    _submit_and_watch(walk)
    _report_and_export(walk)
    _own_experiment(walk)
    _readme(walk)


def _install_and_store(walk: Walk) -> None:
    init, *doctor = commands(GUIDE, heading="## 2. Make a folder for the study")
    walk.type(init)
    fill_in_the_folders_of_the_videos(walk)
    for line in doctor:
        walk.type(line)
    missing = walk.type("kdbatch plan jobs/*.yaml --profile paper")
    store = commands(GUIDE, heading="## 3. Store the videos")
    for line in [line for line in store if not re.search(" (verify|overlap) ", line)]:
        assert line.removesuffix(" --slurm") in missing
    for line in store:
        walk.type(line)
    for line in commands(GUIDE, heading="## 4. Plan"):
        assert ("Power" if "--power" in line else "Compute") in walk.type(line)


def _submit_and_watch(walk: Walk) -> None:
    lines = commands(GUIDE, heading="## 5. Submit, and watch")
    watch = next(line for line in lines if "--watch" in line)
    for line in lines:
        if " submit " in line:
            walk.type(line)
        elif " cancel " in line:  # each with a queue that has something in it
            walk.type("kdbatch submit jobs/*.yaml")
            walk.type(line)
            assert not (walk.slurm / "queue").read_text().strip(), "jobs are left in the queue"
    for line in commands(GUIDE, heading="## 6. When something stops"):
        walk.type(line)
    assert "done" in walk.type(watch)
    for line in lines:
        if " sync " in line:
            walk.type(line)
        if " logs " in line:
            assert walk.type(line.replace("r4d1f", walk.run_of_kind("distill"))).strip()


def _report_and_export(walk: Walk) -> None:
    for line in commands(GUIDE, heading="## 7. Report"):
        walk.type(line)
    page = (walk.folder / "report" / "index.html").read_text(encoding="utf-8")
    assert "runs are done" in page
    _every_name_in_the_results_is_explained(walk.folder / "report" / "results.parquet")
    for line in commands(GUIDE, heading="## 8. Give a network away"):
        walk.type(line.replace("r4d1f", walk.run_of_kind("distill")))
    video = next((walk.folder.parent / "videos" / "ucf101").rglob("*.avi"))
    shown = subprocess.run(
        [sys.executable, "student/load.py", str(video)],
        cwd=walk.folder,
        env=walk.environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert shown.returncode == 0 and shown.stdout.strip(), shown


def _every_name_in_the_results_is_explained(path: Path) -> None:
    rows = pl.read_parquet(path).filter(table="rows")
    names = {re.sub(r"_(low|high)$", "", name) for name in rows["name"].unique()}
    assert {"top1", "pretext_accuracy", "block_index", "teacher_oracle_top1"} <= names
    explained = set(re.findall(r"`(\w+)`", SCHEMA[SCHEMA.index("## What the names mean") :]))
    assert names <= explained, names - explained
    (units,) = [line for line in SCHEMA.splitlines() if line.startswith("| `unit`")]
    assert set(rows["unit"].unique()) <= set(re.findall(r"`([^`]+)`", units))


def _own_experiment(walk: Walk) -> None:
    (text,) = re.findall(r"^```yaml\n(name: .*?)^```$", GUIDE, re.MULTILINE | re.DOTALL)
    path = walk.folder / "jobs" / f"{text.split()[1]}.yaml"
    path.write_text(text)
    walk.type(f"kdbatch submit jobs/{path.name} --local --jobs 2")
    assert "Two tasks teach more than two seeds of one." in walk.type("kdbatch report --json")


def _readme(walk: Walk) -> None:
    for line in commands(README, heading="## Three commands"):
        walk.type(line)
    walk.type("kdbatch cancel jobs/task_complexity.yaml")
    for line in commands(README, heading="## Your own study"):
        walk.type(line)
        if line.startswith("cp "):
            path = walk.folder / line.split()[-1]
            path.write_text(path.read_text().replace("name: subset_size", f"name: {path.stem}"))
        if " submit " in line:
            walk.run_jobs()
    assert (walk.folder / "jobs" / "mine.yaml").is_file()
