"""The page that shows how to add a thing is followed word for word, and what it adds is run."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from support.inputs import JOBS
from support.page_edits import apply_page

from kdbatch.base.progress import silent
from kdbatch.shard.toy.size import SIZES
from kdbatch.shard.toy.write import write_toy

ROOT = JOBS.parent
PAGE = (ROOT / "docs" / "ARCHITECTURE.md").read_text(encoding="utf-8")
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def extended(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project with every example of the page."""
    root = tmp_path_factory.mktemp("extended")
    ignore = shutil.ignore_patterns("__pycache__")
    for name in ("kdbatch", "jobs"):
        shutil.copytree(ROOT / name, root / name, ignore=ignore)
    apply_page(PAGE, root)
    return root


@pytest.fixture
def kdbatch(extended: Path, tmp_path: Path) -> Run:
    """Calls a command of the extended copy in a folder of its own."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("SLURM", "PYTHON"))}
    environment = kept | {"PYTHONPATH": str(extended), "OMP_NUM_THREADS": "1"}

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "kdbatch", *words]
        return subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300
        )

    return run


def test_the_page_adds_one_of_each_kind(extended: Path) -> None:
    added = {
        str(path.relative_to(extended))
        for path in extended.rglob("*.*")
        if path.is_file() and not (ROOT / path.relative_to(extended)).exists()
    }
    added = {name for name in added if "__pycache__" not in name}
    folders = {Path(name).parent.name for name in added - {"kdbatch.toml"}}
    assert "kdbatch.toml" in added and folders == {"models", "tasks", "jobs"}


def test_a_name_that_was_not_added_is_refused_with_the_known_ones(
    kdbatch: Run, extended: Path, tmp_path: Path
) -> None:
    shutil.copy(extended / "kdbatch.toml", tmp_path)
    done = kdbatch("shard", "gesture")
    assert done.returncode == 2 and "Did you mean 'gestures'" in done.stderr, done


def test_every_example_imports_what_is_there(extended: Path) -> None:
    names = "kdbatch.run.stages, kdbatch.shard.datasets, kdbatch.cli.commands"
    command = [sys.executable, "-c", f"import {names}; print(kdbatch.__file__)"]
    environment = {**os.environ, "PYTHONPATH": str(extended)}
    done = subprocess.run(command, cwd=extended, env=environment, capture_output=True, text=True)
    assert done.returncode == 0 and str(extended) in done.stdout, done.stderr


def test_the_loss_of_the_page_is_what_kl_becomes_at_a_high_temperature(extended: Path) -> None:
    script = """if True:
        import torch
        from kdbatch.run.train.losses import LOSSES
        from kdbatch.vocab.distillation.losses import LOSS_SPECS
        own_BK, teacher_BK = torch.randn(2, 6, 5, dtype=torch.float64)
        label_B = torch.arange(6) % 5
        kl_B, squared_B = (
            LOSSES[name](own_BK / 1e3, teacher_BK / 1e3, label_B, terms=LOSS_SPECS[name].terms)
            for name in ("kl", "squared-logits")
        )
        assert torch.allclose(kl_B, squared_B, rtol=1e-2), (kl_B, squared_B)
    """
    environment = {**os.environ, "PYTHONPATH": str(extended)}
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, cwd=extended, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_what_the_page_adds_is_planned_trained_and_reported(
    kdbatch: Run, extended: Path, tmp_path: Path
) -> None:
    write_toy(tmp_path / "toys", processes=1, progress=silent, size=SIZES["small"])
    shutil.copy(extended / "kdbatch.toml", tmp_path)
    experiment = str(extended / "jobs" / "arrow_of_time.yaml")
    for words in (
        ("shard", "gestures", "--dry-run"),
        ("plan", experiment, "--profile=micro"),
        ("shard", "gestures"),
        ("shard", "gestures", "--split=test"),
        ("shard", "verify", "gestures"),
        ("plan", experiment, "--profile=micro"),
        ("submit", experiment, "--profile=micro", "--local", "--jobs=2"),
        ("report", "--complete"),
        ("weigh",),
    ):
        done = kdbatch(*words)
        assert done.returncode == 0, (words, done.stdout, done.stderr)
    report = (tmp_path / "report" / "index.html").read_text(encoding="utf-8")
    assert "T1 arrow of time" in report
