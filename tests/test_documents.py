"""The documents are true: their commands exist, their settings and experiments are read, their
columns are those of the files.
"""

import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import get_args

import polars as pl
import pytest
import yaml
from support.inputs import JOBS
from support.toys import toys

from kdbatch.base.parse import parse
from kdbatch.cli.command import check_arguments
from kdbatch.cli.commands import Commands
from kdbatch.plan.resolve import make_plan
from kdbatch.plan.specs import TeacherSpec
from kdbatch.report.results_export import RESULT_COLUMNS
from kdbatch.result.schema import CKA, CURVES, PREDICTIONS, ROWS
from kdbatch.vocab.config import Config, load_config
from kdbatch.vocab.metrics import Metric
from kdbatch.vocab.recipes.distill import Distill

__all__ = ["toys"]  # a fixture
ROOT = JOBS.parent
DOCUMENTS = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
    ROOT / "container" / "README.md",
]
COMMANDS = {name.replace("_", " "): getattr(Commands, name) for name in Commands().__dir__()}
SCHEMA = (ROOT / "docs" / "RESULTS_SCHEMA.md").read_text(encoding="utf-8")


def fenced(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def typed(program: str) -> list[str]:
    """Every line of a code block, and every code span, that calls `program`; comments and what
    follows && left out.
    """
    found = []
    for path in DOCUMENTS:
        text = path.read_text(encoding="utf-8")
        lines = [line for block in fenced(text, "") for line in block.splitlines()]
        lines += re.findall(r"^    (.+)$", text, re.MULTILINE)
        lines += re.findall(
            r"`([^`\n]+)`", re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
        )
        found += [line.split("#")[0].split("&&")[0].strip() for line in lines]
    return sorted({line for line in found if line.split()[:1] == [program]})


@pytest.mark.parametrize("line", typed("kdbatch"))
def test_every_command_in_the_documents_is_one_and_knows_its_flags(line: str) -> None:
    words = shlex.split(line)[1:]
    if words in ([], ["--help"]):
        return
    name = " ".join(words[:2]) if " ".join(words[:2]) in COMMANDS else words[0]
    assert name in COMMANDS, line
    rest = words[len(name.split()) :]
    function = COMMANDS[name]
    if rest or name in (
        "init",
        "doctor",
        "status",
        "report",
    ):  # a bare name in running text is talked about, not typed
        check_arguments(name, function.__get__(Commands()), rest)


@pytest.mark.parametrize("line", typed("make"))
def test_every_make_target_in_the_documents_is_one(line: str) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = [word for word in shlex.split(line)[1:] if "=" not in word]
    for target in targets:
        assert re.search(rf"^{re.escape(target)}:", makefile, re.MULTILINE), line
    for variable in (word.split("=")[0] for word in shlex.split(line)[1:] if "=" in word):
        assert re.search(rf"^{variable} [:?]?=|\$\(if \$\({variable}\)", makefile, re.MULTILINE), (
            line
        )


def test_every_link_between_documents_leads_somewhere() -> None:
    for path in DOCUMENTS:
        for link in re.findall(r"\]\(([^)#]+)[^)]*\)", path.read_text(encoding="utf-8")):
            assert link.startswith("https://") or (path.parent / link).exists(), (
                f"{path.name}: {link}"
            )


@pytest.mark.parametrize(
    "text",
    [block for path in DOCUMENTS for block in fenced(path.read_text(encoding="utf-8"), "toml")],
)
def test_every_setting_in_the_documents_is_read(text: str, tmp_path: Path) -> None:
    (tmp_path / "kdbatch.toml").write_text(text)
    assert load_config(tmp_path / "kdbatch.toml") != Config()


@pytest.mark.parametrize("profile", ["paper", "toy", "micro"])
def test_the_guides_own_experiment_is_planned_at_every_scale_without_code(
    profile: str, sharded, in_tmp: Path
) -> None:
    sharded(k400=240_000, ucf101=13_320)
    text, *_ = fenced((ROOT / "docs" / "GUIDE.md").read_text(encoding="utf-8"), "yaml")
    (in_tmp / "jobs").mkdir()
    path = in_tmp / "jobs" / f"{text.split()[1]}.yaml"
    path.write_text(text)
    plan = make_plan([path], profile=profile, config=Config())
    assert {"two_seeds", "labels_only", "student"} <= {
        cell.role for cell in plan.records[0].cells
    } and plan.records[0].claims


def test_the_guides_sweep_makes_a_student_for_each_rate_and_augmentation(
    sharded, in_tmp: Path
) -> None:
    sharded(k400=240_000, ucf101=13_320)
    own, sweep, _ = (
        yaml.safe_load(text)
        for text in fenced((ROOT / "docs" / "GUIDE.md").read_text(encoding="utf-8"), "yaml")
    )
    own["vary"] |= sweep["vary"]
    own["student"] |= sweep["student"]
    own["tables"][0]["columns"] = list(own["vary"])
    (in_tmp / "same_or_other.yaml").write_text(yaml.safe_dump(own))
    plan = make_plan([in_tmp / "same_or_other.yaml"], profile="micro", config=Config())
    recipes = [item.run.recipe for item in plan.runs]
    students = {
        (r.schedule.lr, r.view.augment.brightness)
        for r in recipes
        if isinstance(r, Distill) and r.weighting != "none"
    }
    assert students == {(lr, brightness) for lr in (0.01, 0.05) for brightness in (0.0, 0.4)}


def test_the_guides_teachers_from_elsewhere_are_read() -> None:
    *_, text = fenced((ROOT / "docs" / "GUIDE.md").read_text(encoding="utf-8"), "yaml")
    teachers = yaml.safe_load(text)["teachers"]
    found = parse(dict[str, TeacherSpec], teachers, where="GUIDE.md")
    assert [spec.is_ready for spec in found.values()] == [False, True, True]


def test_the_documented_columns_are_those_of_the_files() -> None:
    table = SCHEMA[: SCHEMA.index("```python")]
    documented = [
        name
        for line in re.findall(r"^\| (`[^|]+) \|", table, re.MULTILINE)
        for name in re.findall(r"`(\w+)`", line)
    ]
    assert documented == list(RESULT_COLUMNS) and list(RESULT_COLUMNS)[:6] == list(ROWS) == list(
        CURVES
    )
    for file, columns in (("predictions", PREDICTIONS), ("cka", CKA)):
        (line,) = re.findall(rf"^- `{file}\.parquet`, .*: (.*)$", SCHEMA, re.MULTILINE)
        assert re.findall(r"`(\w+)`", line) == list(columns)


def test_every_metric_of_tables_and_claims_is_documented() -> None:
    documented = set(re.findall(r"`(\w+)`", SCHEMA[SCHEMA.index("## What the names mean") :]))
    assert {re.sub(r"_at_\d+$", "_at_1", name) for name in get_args(Metric)} <= documented


def test_the_documented_notebook_lines_run_on_a_report(one_micro_report: Path) -> None:
    (code,) = fenced(SCHEMA, "python")
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=one_micro_report,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0 and "subset_size" in done.stdout and "student" in done.stdout, done


@pytest.fixture(scope="module")
def one_micro_report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with report/results.parquet of one student, with the columns of `kdbatch report`."""
    folder = tmp_path_factory.mktemp("notebook")
    row = {
        "run_id": "r1",
        "name": "top1",
        "value": 50.0,
        "unit": "percent",
        "subset": "ucf101/test01",
        "step": 0,
        "table": "rows",
    }
    row |= {
        "kind": "distill",
        "title": "t",
        "seed": 0,
        "parents": [],
        "experiment": "subset_size",
        "profile": "toy",
    }
    (folder / "report").mkdir()
    pl.DataFrame(
        [row | {"role": "student", "case": "target=ucf101"}], schema=RESULT_COLUMNS
    ).write_parquet(folder / "report" / "results.parquet")
    return folder


def test_the_guides_shards_are_all_that_its_plans_of_the_whole_study_need(
    sharded, in_tmp: Path
) -> None:
    guide = (ROOT / "docs" / "GUIDE.md").read_text(encoding="utf-8")
    stored = re.findall(r"^kdbatch shard (\w+)(?: --subset (\d+)k)? --slurm$", guide, re.MULTILINE)
    sharded(**{dataset: 1000 * int(thousands or 10) for dataset, thousands in stored})
    assert subprocess.run([sys.executable, "-m", "kdbatch", "init"], timeout=60).returncode == 0
    lines = re.findall(
        r"^kdbatch (plan jobs/\*\.yaml|submit jobs/\*\.yaml --dry-run)$", guide, re.MULTILINE
    )
    for line in lines:
        command = f"{sys.executable} -m kdbatch {line}"
        done = subprocess.run(
            command, shell=True, cwd=in_tmp, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0 and "on ssv2[:30k]" in done.stdout, (line, done)
    assert len(lines) == 2


def test_the_readme_names_every_profile() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    named = re.findall(r"^\| `(\w+)`(?: \(default\))? \| .* runs, ", readme, re.MULTILINE)
    assert sorted(named) == sorted(path.stem for path in (JOBS / "profiles").glob("*.yaml"))
