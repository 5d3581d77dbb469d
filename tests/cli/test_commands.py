"""The shell's side: every trap of the parser closed, every slip one line and exit 2."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from support.inputs import JOBS
from support.speed import in_starts

from kdbatch.cli.command import dispatch
from kdbatch.cli.commands import Commands

SUBSET_SIZE = str(JOBS / "subset_size.yaml")


def kdbatch(*words: str, cwd: Path, timeout: float = 60) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "kdbatch", *words],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=timeout,
    )


@pytest.fixture
def plannable(sharded, in_tmp: Path) -> Path:
    sharded(k400=240_000, ucf101=13_320, hmdb51=6766)
    return in_tmp


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("submit", SUBSET_SIZE, "--dryrun"), "Did you mean '--dry-run'"),
        (("submit", SUBSET_SIZE, "-d"), "no flag -d"),
        (("submit", SUBSET_SIZE, "--profile"), "--profile needs a value"),
        (("submit", "--profile", "--local", SUBSET_SIZE), "--profile needs a value"),
        (("submit", SUBSET_SIZE, "--local=perhaps"), "--local: found 'perhaps'"),
        (("submit", SUBSET_SIZE, "--jobs=two"), "expected a whole number"),
        (("submit",), "name at least one experiment"),
        (("submit", SUBSET_SIZE, "-", "run"), "no flag -"),
        (("sumbit", SUBSET_SIZE), "Did you mean 'submit'"),
        (("_usage",), "no command '_usage'"),
        (("__class__",), "no command '__class__'"),
        (("--verbose", "status"), "no command '--verbose'"),
        (("doctor", "extra"), "doctor takes no arguments, found 'extra'. Type: kdbatch doctor"),
        (("status", "extra"), "No run id begins with 'extra'"),
        (("shard",), "needs DATASET"),
        (("shard", "k40"), "Did you mean 'k400'"),
        (("shard", "k400", "--no-transcod"), "Did you mean '--no-transcode'"),
        (("shard", "k400", "--shards=0:2", "--slurm"), "--shards makes its shards here and now"),
        (("shard", "verify"), "shard verify: needs DATASET"),
        (("shard", "verify", "k40"), "Did you mean 'k400'"),
        (("shard", "verify", "ssv2"), "ssv2 has no shards under shards/"),
        (("shard", "verify", "k400", "--subset=5"), "shard verify: no flag --subset"),
        (("shard", "k400"), r"folder of the videos is not known\. Add --root"),
        (("plan", "nothing.yaml"), "^kdbatch: nothing.yaml: there is no such file.* kdbatch init"),
        (("plan", SUBSET_SIZE, "--profile=toi"), "Did you mean 'toy'"),
        (("report",), "nothing was submitted yet"),
        (("run", "nowhere"), "run.json"),
        (("logs",), "logs: needs RUN"),
        (("logs", "r12"), "no run ID in runs/ starts with 'r12'"),
        (("cancel",), "name what to cancel"),
        (("submit", SUBSET_SIZE, "-f"), "no flag -f"),
        (("bench", "dat"), "no command 'bench dat'. Did you mean 'bench data'"),
        (("bench",), "bench needs a second word: data, step, cka"),
        (("bench", "step", "--backbone=r21d"), "Did you mean 'r21d_10'"),
        (("bench", "step", "--stage=distil"), "Did you mean 'distill'"),
        (("bench", "step", "--batch=2"), "--batch: found 2. Write 4 to 100,000."),
        (("bench", "step", "--width=0"), "--width: found 0. Write 0.005 to 32"),
        (("bench", "cka", "--backbone=r21d"), "--backbone: no 'r21d'. Did you mean 'r21d_10'"),
        (("bench", "cka", "--layers=relu"), "--layers: found 'relu'"),
        (
            ("bench", "data", "--seconds=0"),
            "--seconds: found 0. Write 0.001 to 86,400",
        ),
        (("bench", "data", "--videos=nowhere"), "nowhere: holds no video"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2_and_nothing_is_written(
    plannable: Path, words: tuple[str, ...], says: str
) -> None:
    before = sorted(plannable.rglob("*"))
    done = kdbatch(*words, cwd=plannable)
    assert done.returncode == 2, done
    assert re.search(says, done.stderr + done.stdout)
    assert len((done.stderr + done.stdout).strip().splitlines()) == 1
    assert sorted(plannable.rglob("*")) == before


def test_a_folder_that_cannot_be_made_is_one_line_and_exit_code_2(plannable: Path) -> None:
    (plannable / "runs").touch()
    done = kdbatch("submit", SUBSET_SIZE, "--profile=toy", "--local", cwd=plannable)
    assert done.returncode == 2 and re.fullmatch(
        r"kdbatch: runs: cannot be read \(Not a directory\)\. Look: ls -ld runs\n", done.stderr
    ), done


@pytest.mark.parametrize("words", [(), ("--help",), ("-h",), ("help",)])
def test_help_lists_the_commands_on_stdout(tmp_path: Path, words: tuple[str, ...]) -> None:
    done = kdbatch(*words, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    for name in ("toy", "shard", "shard verify", "plan", "submit", "run", "status", "report"):
        assert re.search(rf"^  {name} ", done.stdout, re.MULTILINE)


@pytest.mark.parametrize(
    "words",
    [
        ("submit", SUBSET_SIZE, "--help"),
        ("--help", "submit"),
        ("submit", "-h"),
        ("submit", "--local", "--help"),
    ],
)
def test_help_anywhere_prints_help_and_runs_nothing(
    plannable: Path, words: tuple[str, ...]
) -> None:
    done = kdbatch(*words, cwd=plannable)
    assert (done.returncode, done.stderr) == (0, "")
    assert "usage: kdbatch submit" in done.stdout and "--dry-run" in done.stdout
    assert not (plannable / "runs").exists()


@pytest.mark.parametrize("name", ["", "bench", *dir(Commands())])
def test_help_fits_a_terminal_of_80_columns(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert dispatch(Commands(), [*filter(None, name.split("_")), "--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) >= 3
    assert [line for line in lines if len(line) > 80] == []


def test_help_on_a_first_word_lists_its_second_words(tmp_path: Path) -> None:
    lines = kdbatch("sync", "--help", cwd=tmp_path).stdout.splitlines()
    assert [line.split()[1] for line in lines[1:4]] == ["tensorboard", "wandb", "mlflow"]


def test_help_on_a_command_of_two_words_is_its_own(tmp_path: Path) -> None:
    for words in (
        ("shard", "verify", "--help"),
        ("--help", "shard", "verify"),
        ("shard", "verify", "k400", "-h"),
    ):
        assert kdbatch(*words, cwd=tmp_path).stdout.startswith(
            "usage: kdbatch shard verify DATASET"
        )
    assert kdbatch("shard", "--help", cwd=tmp_path).stdout.startswith(
        "usage: kdbatch shard DATASET"
    )


def test_dry_run_and_plan_write_nothing(plannable: Path) -> None:
    before = sorted(plannable.rglob("*"))
    for words in (
        ("plan", SUBSET_SIZE),
        ("submit", SUBSET_SIZE, "--dry-run"),
        ("submit", "--dry-run", SUBSET_SIZE),
        ("status",),
    ):
        done = kdbatch(*words, cwd=plannable)
        assert done.returncode == 0, done
    assert sorted(plannable.rglob("*")) == before


def test_a_flag_set_to_false_is_false(plannable: Path) -> None:
    done = kdbatch(
        "submit", SUBSET_SIZE, "--dry-run=true", "--local=false", "--profile=toy", cwd=plannable
    )
    assert done.returncode == 0, done


def test_help_imports_nothing_heavy(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "kdbatch", "--help"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    imported = {line.split("|")[-1].strip() for line in done.stderr.splitlines()}
    assert "fire" in imported
    assert not imported & {
        "torch",
        "polars",
        "matplotlib",
        "submitit",
        "yaml",
        "rich",
        "numpy",
        "av",
    }


def test_help_costs_hardly_more_than_to_start_python_with_fire(tmp_path: Path) -> None:
    def help_whole() -> None:
        assert kdbatch("--help", cwd=tmp_path).returncode == 0

    assert in_starts(help_whole) < 3.0  # some 1.6, which is 0.3 s
