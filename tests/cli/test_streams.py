"""Commands whose standard streams are closed, have lost their reader, or take ASCII alone."""

import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.studies import WriteStudy
from support.toys import toys

from kdbatch.base.atomic_write import load_json, write_json

__all__ = ["toys"]

KDBATCH = (sys.executable, "-m", "kdbatch")
LISTING = ["--help", "status", "status --json", "doctor", "logs r"]
TITLE = "caf\u00e9 \u2026 \u6f22 \U0001f600 5\u00d72 \x1b[31mred\u202e"


def run(
    words: str, cwd: Path, *, streams: str = "", **environment: str
) -> subprocess.CompletedProcess[str]:
    """The command in bash, with these redirections."""
    return subprocess.run(
        ["bash", "-c", f"{shlex.join((*KDBATCH, *shlex.split(words)))} {streams}"],
        cwd=cwd,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=120,
    )


def run_without_reader(words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """The command with a pipe as standard output whose reader has ended."""
    ours, theirs = os.pipe()
    os.close(ours)
    try:
        return subprocess.run(
            [*KDBATCH, *shlex.split(words)],
            cwd=cwd,
            stdout=theirs,
            stderr=subprocess.PIPE,
            text=True,
            timeout=120,
        )
    finally:
        os.close(theirs)


@pytest.fixture
def study(write_study: WriteStudy) -> Path:
    """The folder of a study, one of whose runs has a title from anywhere."""
    runs_dir = write_study(num_videos=100)[1]
    runs_dir = runs_dir.rename(runs_dir.with_name("runs"))
    path = next(runs_dir.glob("r*/run.json"))
    write_json(path, load_json(path) | {"title": TITLE})
    return runs_dir.parent


@pytest.mark.parametrize("streams", [">&-", ">&- 2>&- <&-"])
@pytest.mark.parametrize("words", LISTING)
def test_a_closed_stream_is_no_trace_and_changes_no_exit_code(
    study: Path, words: str, streams: str
) -> None:
    usual = run(words, study)
    closed = run(words, study, streams=streams)
    assert "Traceback" not in closed.stderr + closed.stdout
    assert closed.returncode == usual.returncode
    assert closed.stdout == ("" if ">&-" in streams.split() else usual.stdout)


@pytest.mark.parametrize("words", LISTING)
def test_a_listing_whose_reader_has_ended_is_quiet(study: Path, words: str) -> None:
    usual = run(words, study)
    done = run_without_reader(words, study)
    assert (done.returncode, done.stderr) == (usual.returncode, usual.stderr)


def test_an_endless_listing_ends_with_its_reader(study: Path) -> None:
    path = next(study.glob("runs/r*/run.json")).parent
    (path / "done.json").unlink()
    write_json(path / "status.json", {})
    began = time.monotonic()
    done = run_without_reader("status --watch", study)
    assert done.returncode == 0 and time.monotonic() - began < 60


def test_a_command_that_works_finishes_its_work_without_a_reader(tmp_path: Path) -> None:
    done = run_without_reader("init", tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "kdbatch.toml").exists() and list(tmp_path.glob("jobs/*.yaml"))


@pytest.mark.parametrize(
    "streams",
    ["| :", *(pytest.param(closed, marks=pytest.mark.rare) for closed in (">&-", ">&- 2>&- <&-"))],
)
def test_videos_are_stored_without_a_reader_and_no_line_gets_into_a_tar(
    toys: Path, tmp_path: Path, streams: str
) -> None:
    words = shlex.join((*KDBATCH, "shard", "ucf101", "--root", str(toys / "ucf101")))
    bash = f"({words} && touch next) {streams}"
    subprocess.run(["bash", "-c", bash], cwd=tmp_path, timeout=120, check=False)
    assert (tmp_path / "next").exists()
    checked = run("shard verify ucf101", tmp_path)
    assert checked.returncode == 0, checked


def test_a_full_disk_below_the_output_is_not_blamed_on_the_shards(
    toys: Path, tmp_path: Path
) -> None:
    root = shlex.quote(str(toys / "ucf101"))
    done = run(f"shard ucf101 --root {root}", tmp_path, streams=">/dev/full")
    assert done.returncode == 2
    assert done.stderr.startswith("kdbatch: standard output: No space left on device.")


@pytest.mark.parametrize("environment", [{"PYTHONIOENCODING": "ascii"}, {"PYTHONUTF8": "0"}])
def test_ascii_terminals_get_text(study: Path, environment: dict[str, str]) -> None:
    done = run("status", study, LC_ALL="C", **environment)
    assert (done.returncode, done.stderr) == (0, "")
    assert r"cafe ... ? ? 5x2 \x1b[31mred\u202e" in done.stdout
    assert done.stdout.isascii()


def test_json_keeps_every_character_on_an_ascii_terminal(study: Path) -> None:
    ascii_text = run("status --json", study, PYTHONIOENCODING="ascii").stdout
    assert ascii_text == run("status --json", study).stdout
    assert r"caf\u00e9" in ascii_text


@pytest.mark.parametrize("milliseconds", range(0, 400, 50))
def test_ctrl_c_during_imports_prints_nothing(tmp_path: Path, milliseconds: int) -> None:
    script = (
        "import sys; from kdbatch.__main__ import main\n"
        "print('started', flush=True); sys.argv = ['kdbatch', 'doctor']; sys.exit(main())"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout and process.stdout.readline() == "started\n"
    time.sleep(0.005 + milliseconds / 1000)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert stderr == ""
    assert process.returncode in (130, -signal.SIGINT, 0, 1)  # 0 and 1: doctor had ended before
