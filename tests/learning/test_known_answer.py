"""The experiment of `make demo`: its claims get the verdicts that are known before it is run."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from support.inputs import JOBS

KNOWN = {
    "knowledge_reaches_the_student": "holds",
    "student_beats_few_labels": "holds",
    "few_labels_suffice": "fails",
    "shuffled_labels_teach": "fails",
    "one_seed_teaches_better": "undecided",
}


def kdbatch(*words: str | Path, cwd: Path) -> None:
    command = [sys.executable, "-m", "kdbatch", *map(str, words)]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=3600)
    assert done.returncode == 0, done


@pytest.mark.learning
def test_another_seed_of_the_toys_gives_the_known_verdicts(tmp_path: Path) -> None:
    """The demo's own commands, with other videos than those of `make demo`: minutes of training."""
    toys = tmp_path / "demo"
    kdbatch("toy", toys, "--size=demo", "--datasets=k400,ucf101", "--seed=1", cwd=tmp_path)
    for dataset in ("k400", "ucf101"):
        kdbatch("shard", dataset, "--videos-per-shard=32", cwd=toys)
    experiment = JOBS / "demo" / "known_answer.yaml"
    kdbatch("submit", experiment, "--profile=demo", "--local", cwd=toys)
    kdbatch("report", "--complete", cwd=toys)
    report = json.loads((toys / "report" / "report.json").read_text())
    found = {each["claim"]["id"]: each["corrected_verdict"] for each in report["claims"]}
    assert found == KNOWN
