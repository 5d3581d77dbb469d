"""Every command that a message can print: whole, known to the parser, and typed in a real study."""

import ast
import inspect
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support import micro_study as micro
from support.inputs import JOBS

from kdbatch.base import command_lines
from kdbatch.base.progress import silent
from kdbatch.cli.command import check_arguments
from kdbatch.cli.commands import Commands
from kdbatch.launch.saved_plans import SubmitRequest
from kdbatch.shard.build import build_shards
from kdbatch.shard.toy.write import write_toy
from kdbatch.vocab.plans.records import find_records
from kdbatch.vocab.shard_request import ShardRequest

PACKAGE = JOBS.parent / "kdbatch"
COMMANDS = {name.replace("_", " "): getattr(Commands, name) for name in Commands().__dir__()}
# These quote any words, or join commands that are tried as they are.
QUOTING = {"shell_word", "shell_line", "flag_words", "visible", "remove_and_resume"}
MAKERS = {
    name: function
    for name, function in vars(command_lines).items()
    if inspect.isfunction(function) and not name.startswith("_") and name not in QUOTING
}
# Texts that name a command and do not tell anybody to type it: titles of the report's page.
NAMES = re.compile(r"Made by kdbatch report|>kdbatch report<")

FILE = "jobs/my study.yaml"
SHARD = ShardRequest(
    dataset="k400",
    split="train",
    subset="8",
    videos_per_shard=8,
    max_rejected=0.5,
    transcode=False,
    processes=1,
    root="toys/k400",
)
LINES: dict[str, tuple[str, ...]] = {
    "submit_command": (
        command_lines.submit_command([FILE], profile="test"),
        command_lines.submit_command(
            [FILE, "jobs/subset_size.yaml"],
            profile="test",
            local=True,
            jobs=2,
            retry_failed=True,
        ),
        *(
            SubmitRequest(files=(Path(FILE),), profile="test", local=True, jobs=3).command(
                retry_failed=True, wait=wait
            )
            for wait in (False, True)
        ),
    ),
    "resume_command": (
        command_lines.resume_command(),
        command_lines.resume_command(retry_failed=True),
        command_lines.resume_command([FILE], profile="test"),
    ),
    "plan_command": (
        command_lines.plan_command([FILE], profile="test"),
        command_lines.plan_command(["jobs/subset_size.yaml"], profile=""),
    ),
    "status_command": (
        command_lines.status_command(),
        command_lines.status_command(watch=True),
    ),
    "logs_command": (command_lines.logs_command("RUN"),),
    "cancel_command": (
        command_lines.cancel_command("RUN"),
        command_lines.cancel_command(FILE),
        command_lines.cancel_command(everything=True),
    ),
    "report_command": (
        command_lines.report_command(),
        command_lines.report_command(to="my report"),
        command_lines.report_command(against="my report/report.json"),
    ),
    "export_command": (command_lines.export_command("RUN", to="FOLDER"),),
    "init_command": (command_lines.init_command(),),
    "doctor_command": (
        command_lines.doctor_command(),
        command_lines.doctor_command(submit=True),
    ),
    "shard_command": (
        command_lines.shard_command("k400"),
        command_lines.shard_command("ucf101", split="train01"),
    ),
    "toy_command": (
        command_lines.toy_command(
            "my toys", size="small", datasets="k400,ucf101", seed=1, processes=1
        ),
    ),
    "verify_command": (command_lines.verify_command("k400"),),
    "overlap_command": (
        command_lines.overlap_command("k400", "ucf101"),
        command_lines.overlap_command("k400", "ucf101", to="my list.csv"),
    ),
    "sync_command": (
        command_lines.sync_command("wandb", "my project"),
        command_lines.sync_command("mlflow", "FOLDER"),
        command_lines.sync_command("tensorboard", "FOLDER"),
    ),
    "bench_data_command": (command_lines.bench_data_command(videos="toys/my videos"),),
    "bench_step_command": (
        command_lines.bench_step_command(backbone="shufflenet_2x", stage="finetune"),
        command_lines.bench_step_command(backbone="r21d_10", stage="distill", limit=900),
    ),
    "help_command": (
        command_lines.help_command(),
        command_lines.help_command("shard verify"),
    ),
    "command_line": (
        SHARD.command,
        ShardRequest(dataset="ucf101").command,
        command_lines.command_line(*SHARD.arguments, "--slurm"),
        command_lines.command_line("--version"),
    ),
}
# They need minutes, a SLURM or a service: the parser reads them here, other tests type them.
ELSEWHERE = ("bench data", "bench step", "doctor --submit", "--slurm", "--wait", "sync ", "COMMAND")


def trees() -> Iterator[tuple[Path, ast.Module]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        yield path.relative_to(PACKAGE), ast.parse(path.read_text(encoding="utf-8"))


def texts(tree: ast.Module) -> Iterator[str]:
    """The texts of a module that are not docstrings."""
    docs = {
        id(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docs:
            yield node.value


def test_no_message_writes_a_command_by_hand() -> None:
    first_words = "|".join(sorted({name.split()[0] for name in COMMANDS}))
    command = re.compile(rf"\bkdbatch ({first_words}|--)\b")
    found = [
        f"kdbatch/{path}: {text.strip()!r}"
        for path, tree in trees()
        if path not in (Path("launch/init_config.py"), Path("base/command_lines.py"))
        for text in texts(tree)
        if command.search(NAMES.sub("", text))
    ]
    assert not found, "\n".join(["use kdbatch/base/command_lines.py:", *found])


def test_every_command_of_the_written_configuration_is_whole() -> None:
    (tree,) = [tree for path, tree in trees() if path == Path("launch/init_config.py")]
    lines = [line for text in texts(tree) for line in text.splitlines() if "kdbatch " in line]
    for command in re.findall(r"kdbatch [a-z0-9 -]+", "\n".join(lines)):
        check(command.strip())


def uses() -> set[tuple[str, frozenset[str]]]:
    """The functions of command_lines.py that the package calls, each with the names of the flags
    that it is given.
    """
    found = set()
    for path, tree in trees():
        for node in ast.walk(tree):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
                continue
            if node.func.id in MAKERS and path.name != "command_lines.py":
                found.add((node.func.id, frozenset(k.arg for k in node.keywords if k.arg)))
    return found


def test_every_way_in_which_a_command_is_made_has_a_line_here() -> None:
    assert set(LINES) == set(MAKERS)
    for name, flags in uses():
        words = {"everything": "--all"}
        needed = {words.get(flag, f"--{flag.replace('_', '-')}") for flag in flags}
        assert any(needed <= set(shlex.split(line)) for line in LINES[name]) or (
            name == "plan_command" and needed == {"--profile"}
        ), f"{name} is called with {sorted(needed)}; type such a line here"


def check(line: str) -> None:
    program, *words = shlex.split(line)
    assert program == "kdbatch"
    if words[0] in ("COMMAND", "--version") or words[-1] == "--help":
        return
    name = " ".join(words[:2]) if " ".join(words[:2]) in COMMANDS else words[0]
    function: Callable[..., object] = COMMANDS[name]
    check_arguments(name, function.__get__(Commands()), words[len(name.split()) :])


@pytest.mark.parametrize("line", [line for lines in LINES.values() for line in lines])
def test_every_printed_command_is_known_to_the_parser(line: str) -> None:
    check(line)


@pytest.fixture(scope="module")
def real_study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small study with originals and shards, whose experiment has a name with a space."""
    folder = tmp_path_factory.mktemp("real study")
    write_toy(folder / "toys", processes=1, progress=silent, size=micro.SIZE)
    for dataset in ("k400", "ucf101"):
        build_shards(
            ShardRequest(dataset=dataset, processes=1),
            root=folder / "toys" / dataset,
            shards_dir=folder / "shards",
            progress=silent,
        )
    experiment = micro.write_jobs(folder, epochs=1)
    text = experiment.read_text(encoding="utf-8")
    (folder / FILE).write_text(text.replace("name: subset_size", "name: my study", 1))
    roots = [f'[datasets.{name}]\nroot = "toys/{name}"\n' for name in ("k400", "ucf101")]
    (folder / "kdbatch.toml").write_text("\n".join(roots))
    programs = folder / "bin"
    programs.mkdir()
    (programs / "kdbatch").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m kdbatch "$@"\n')
    (programs / "kdbatch").chmod(0o755)
    return folder


@pytest.mark.slow
def test_every_printed_command_is_typed_in_a_real_study(real_study: Path) -> None:
    """None of them is refused (exit code 2) and none of them ends in a trace."""
    env = {**os.environ, "PATH": f"{real_study / 'bin'}{os.pathsep}{os.environ['PATH']}"}

    def type_line(line: str) -> str:
        done = subprocess.run(
            ["bash", "-c", line],
            cwd=real_study,
            env=env,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        output = done.stdout + done.stderr
        # The profile `paper` draws maps from more test videos than these toys have.
        is_too_small = "the profile's compare.batch_clips is 64" in output
        assert done.returncode in (0, 1) or is_too_small, (line, output)
        assert "Traceback" not in output, (line, output)
        return output

    output = type_line(LINES["submit_command"][1])
    assert "Next: kdbatch report" in output
    records = find_records(real_study / "runs")
    run_id = next(run.id for run in records[0].runs if run.kind == "distill")
    for line in (line for lines in LINES.values() for line in lines):
        if not any(words in line for words in ELSEWHERE) and line != SHARD.command:
            type_line(line.replace("RUN", run_id).replace("--profile ''", ""))
    assert "9 done" in type_line("kdbatch status")
    done = real_study / "runs" / run_id / "done.json"
    before = done.stat().st_mtime_ns
    type_line(command_lines.remove_and_resume(f"runs/{run_id}"))
    assert "9 done" in type_line("kdbatch status") and done.stat().st_mtime_ns > before
