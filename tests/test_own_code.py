"""Networks, tasks, weightings and losses of installed packages: planned, tried, hashed, trained."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from support.own_code import EXAMPLE, ROOT, distribution, pip_install

EXPERIMENT = """\
name: own_code
title: A network of another package
vary: {network: [tiny3d]}
teachers:
  T1:
    title: T1
    backbone: $network
    pretrain: {task: rotnet, complexity: 1, dataset: k400, subset: 8}
    target: ucf101
student: {title: Student, backbone: r21d_10, target: ucf101, teachers: [T1], loss: logit-mse}
controls:
  labels_only: {title: Labels only, teachers: []}
tables:
  - {id: table, title: Accuracy, rows: [T1, student, labels_only], columns: [network]}
"""
Type = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def site(tmp_path: Path) -> Path:
    folder = tmp_path / "site"
    folder.mkdir()
    return folder


@pytest.fixture
def example(site: Path) -> Path:
    """The sources of the example, with what an installation adds to them."""
    shutil.copytree(EXAMPLE / "kdbatch_example", site / "kdbatch_example")
    text = (EXAMPLE / "pyproject.toml").read_text()
    groups = text[text.index("[project.entry") : text.index("[tool.")]
    info = site / "kdbatch_example-0.1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: kdbatch-example\nVersion: 0.1.0\n")
    plain = groups.replace('[project.entry-points."', "[").replace('"]', "]").replace('"', "")
    (info / "entry_points.txt").write_text(plain)
    return site / "kdbatch_example"


@pytest.fixture
def python(site: Path, in_tmp: Path) -> Type:
    """Starts Python where the folder `site` is installed."""
    hidden = ("SLURM", "KDBATCH", "PYTHON", "PYTEST")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(hidden)}
    environment = kept | {"PYTHONPATH": f"{site}:{ROOT}", "OMP_NUM_THREADS": "1"}

    def run(*words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-B", *words],
            cwd=in_tmp,
            env=environment,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=300,
        )

    return run


def plan_ids(python: Type) -> dict[str, str]:
    """The ids of the planned runs by title, without a look into the worker's Python."""
    script = """if True:
        import json
        from pathlib import Path
        from kdbatch.plan.resolve import make_plan
        from kdbatch.vocab.config import Config
        plan = make_plan([Path("own_code.yaml")], profile="micro", config=Config())
        print(json.dumps({run.title: run.run.id for run in plan.runs}))
    """
    Path("own_code.yaml").write_text(EXPERIMENT)
    shutil.copytree(ROOT / "jobs" / "profiles", "profiles", dirs_exist_ok=True)
    done = python("-c", script)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def problems(python: Type) -> list[str]:
    done = python("-m", "kdbatch.run.extensions", stdin="[]")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])["problems"]


def test_a_plan_uses_the_code_of_a_package_without_torch(
    python: Type, site: Path, example: Path, sharded: Callable[..., object]
) -> None:
    sharded(k400=240_000, ucf101=13_320)
    (site / "torch").mkdir()
    (site / "torch" / "__init__.py").write_text("raise ImportError('none here', name='torch')")
    assert "pretrain Tiny3D by RotNet C1 on k400[:8], seed 0" in plan_ids(python)


def test_other_sources_are_other_runs_but_not_of_what_does_not_use_them(
    python: Type, example: Path, sharded: Callable[..., object]
) -> None:
    sharded(k400=240_000, ucf101=13_320)
    before = plan_ids(python)
    losses = example / "losses.py"
    losses.write_text(losses.read_text().replace("sum(1) / 2", "mean(1)"))
    after = plan_ids(python)
    same = [title for title, run_id in before.items() if after[title] == run_id]
    assert len(before) == 4 and len(same) == 1, (before, after)
    assert "from labels" in same[0]


def test_a_worker_refuses_code_that_was_not_planned(python: Type, example: Path) -> None:
    script = """if True:
        from pathlib import Path
        from kdbatch.vocab.extensions.sources import check_code, code_here
        planned = code_here("kdbatch-example", "kdbatch_example")
        check_code([planned])
        (Path(FOLDER) / "losses.py").write_text("")
        code_here.cache_clear()
        check_code([planned])
    """
    done = python("-c", script.replace("FOLDER", repr(str(example))))
    last = done.stderr.splitlines()[-1]
    assert "the run was planned with kdbatch-example 0.1.0 (sha256 " in last
    assert "plan with the code of now: kdbatch resume" in last


SPEC = "from kdbatch.vocab.{module} import {kind}\n{text}"
BROKEN: dict[str, tuple[str, str, str]] = {
    "two distributions have one name": (
        "kdbatch.tasks rotnet",
        "SPEC = None",
        "kdbatch.tasks has the name 'rotnet' twice: kdbatch has it, too",
    ),
    "a module fails": (
        "kdbatch.losses",
        "1 / 0",
        "import failed (ZeroDivisionError: division by zero).",
    ),
    "an object is missing": (
        "kdbatch.losses",
        "",
        "import failed (AttributeError: ",
    ),
    "an object is of another kind": (
        "kdbatch.losses",
        "def SPEC(): ...",
        "is of <class 'function'>. Write a LossSpec.",
    ),
    "load is missing": (
        "kdbatch.losses",
        SPEC.format(module="distillation.losses", kind="LossSpec", text="SPEC = LossSpec()"),
        "load is missing.",
    ),
    "a number is out of its range": (
        "kdbatch.backbones",
        SPEC.format(
            module="backbones",
            kind="BackboneSpec",
            text="SPEC = BackboneSpec(title='Mine', gmac_per_clip=-1.0, load=print)",
        ),
        "import failed (UserError: gmac_per_clip: found -1. Write 0.001 to",
    ),
    "a network has another output": (
        "kdbatch.backbones",
        """from kdbatch.vocab.backbones import BackboneSpec
def load():
    from torch import nn
    from kdbatch.run.models import VideoBackbone
    def build(*, width):
        conv = nn.Conv3d(3, 7, 1)
        return VideoBackbone({"conv": conv}, stem=("conv",), units=("conv",), feature_dim=8)
    return build
SPEC = BackboneSpec(title="Mine", gmac_per_clip=0.004, load=load)
""",
        "backbone NAME: its last map is (1, 7, 16, 112, 112) for one clip; write (1, 8, T, H, W)",
    ),
    "a loss is one number": (
        "kdbatch.losses",
        """from kdbatch.vocab.distillation.losses import LossSpec
SPEC = LossSpec(load=lambda: lambda own, wanted, label, *, terms, group: (own - wanted).mean())
""",
        "loss NAME: returns () for 6 clips; write one loss a clip",
    ),
    "shares sum to more than one": (
        "kdbatch.weightings",
        """from kdbatch.vocab.distillation.weightings import WeightingSpec
def weigh(gradient_MBK, **others):
    return gradient_MBK[:, :, 0] * 0 + 1
SPEC = WeightingSpec(load=lambda: weigh)
""",
        "weighting NAME: the shares of a clip do not sum to 1",
    ),
}


@pytest.mark.slow
def test_what_breaks_its_contract_is_one_line_that_names_it(python: Type, site: Path) -> None:
    wanted = {}
    for number, (group, text, line) in enumerate(BROKEN.values()):
        name = f"own{number}"
        place = group if " " in group else f"{group} {name}"
        distribution(site, name, {place: f"{name}.specs:SPEC"}, specs=text)
        wanted[name] = f"{name}: {name}.specs:SPEC: {line}".replace("NAME", name)
    found = {line.partition(":")[0]: line for line in problems(python)}
    assert found.keys() == wanted.keys()
    assert [name for name in wanted if not found[name].startswith(wanted[name])] == [], found


@pytest.mark.slow
def test_the_example_is_installed_by_pip_and_keeps_its_contracts(
    python: Type, site: Path, tmp_path: Path
) -> None:
    shutil.copytree(EXAMPLE, tmp_path / "source")
    pip_install(tmp_path / "source", site)
    assert problems(python) == []
    done = python("-m", "kdbatch", "doctor")
    line = "kdbatch-example 0.1.0 (sha256 "
    assert f"code: {line}" in done.stdout and "backbone tiny3d, loss logit-mse" in done.stdout
