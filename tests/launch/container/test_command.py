"""The command that starts Python inside an image, run with a stand-in apptainer on PATH."""

import hashlib
import itertools
import os
import re
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from support.launching import act, config_in, events, ids, plan_of
from support.slurm import run_array_element
from support.wait import wait_until

from kdbatch.base.errors import UserError
from kdbatch.base.parse import parse
from kdbatch.launch.container.command import as_argv, as_shell_line, check_container, python_command
from kdbatch.launch.container.image import image_file
from kdbatch.launch.dry_run import describe_launch
from kdbatch.launch.local.run import run_locally
from kdbatch.launch.slurm.submit import submit_arrays
from kdbatch.vocab.config import Config, Container
from kdbatch.vocab.runs.cache import Cache
from kdbatch.vocab.runs.folder import RunFolder

FORWARDER = (sys.executable, "-P", "-m", "kdbatch.launch.local.signal_forwarder")


def words_of(tmp_path: Path, *, cache: str = "", **container: object) -> tuple[str, ...]:
    config = Config(
        container=parse(
            Container, {"image": str(tmp_path / "kd.sif"), **container}, where="container"
        ),
        cache=Cache(path=cache),
    )
    return python_command(config, folders=(tmp_path, tmp_path))


def in_image(tmp_path: Path) -> Config:
    (tmp_path / "kd.sif").touch()
    return replace(
        config_in(tmp_path),
        container=Container(
            image=str(tmp_path / "kd.sif"), env={"GREETING": "two words, and a comma"}
        ),
    )


def test_without_an_image_it_is_this_python():
    assert python_command(Config(), folders=(Path("/data"),)) == (sys.executable,)


def test_the_hosts_packages_stay_outside_and_each_folder_is_bound_once(tmp_path):
    words = words_of(tmp_path, binds=["/scratch:/data:ro"], args=["--no-home"])
    left_out = [name for flag, name in itertools.pairwise(words) if flag == "-u"]
    assert words[0] == "env" and {"PYTHONPATH", "LD_PRELOAD"} <= set(left_out)
    inside = words[words.index("apptainer") :]
    binds = (f"--bind={tmp_path}", "--bind=/scratch:/data:ro")
    assert inside == (
        *("apptainer", "--quiet", "exec", "--nv"),
        *binds,
        *("--env=PYTHONNOUSERSITE=1", "--no-home", f"{tmp_path}/kd.sif", "python3"),
    )


@pytest.mark.parametrize(("gpu", "flag"), [("nv", "--nv"), ("rocm", "--rocm"), ("none", None)])
def test_the_kind_of_gpu_is_a_flag(tmp_path, gpu, flag):
    assert [word for word in words_of(tmp_path, gpu=gpu) if word in ("--nv", "--rocm")] == (
        [flag] if flag else []
    )


@pytest.mark.parametrize(
    ("cache", "bind"),
    [
        ("/local/frames", "/local"),
        ("$TMPDIR/frames", "$TMPDIR"),
        ("$FRAMES", "$FRAMES"),
        ("/dev/shm/frames", None),
        ("/tmp/frames", None),
    ],
)
def test_the_parent_of_the_cache_is_bound_where_the_runtime_does_not_do_so(tmp_path, cache, bind):
    binds = [word for word in words_of(tmp_path, cache=cache) if word.startswith("--bind=")]
    assert binds == [f"--bind={tmp_path}", *([f"--bind={bind}"] if bind else [])]


@pytest.mark.parametrize("frames", [None, "/mnt/a b"])
def test_shell_and_process_read_the_same_words_and_leave_out_a_bind_of_an_unset_variable(
    tmp_path, monkeypatch, frames
):
    monkeypatch.delenv("FRAMES", raising=False)
    if frames:
        monkeypatch.setenv("FRAMES", frames)
    words = words_of(tmp_path, binds=["$FRAMES:/frames"], env={"A": 'it\'s `x` $(id) "y" $HOME 5$'})
    line = f"printf '%s\\n' {as_shell_line(words)}"
    told = tuple(
        subprocess.run(
            ["bash", "-c", line], capture_output=True, text=True, check=True
        ).stdout.splitlines()
    )
    assert told == as_argv(words)
    assert [word for word in told if "frames" in word] == (
        [f"--bind={frames}:/frames"] if frames else []
    )
    # The shell of the image takes one backslash away from each.
    assert rf"""--env=A=it's \`x\` \$(id) "y" {os.environ["HOME"]} 5\$""" in told


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        ({"binds": ["a:b:c"]}, r"binds\[0\]: found 'a:b:c'. Write SRC, SRC:DST or SRC:DST:ro"),
        ({"binds": ["/a,/b"]}, r"binds\[0\]: found '/a,/b'"),
        ({"env": {"A B": "x"}}, "env: found 'A B' = 'x'"),
        ({"gpu": "cuda"}, "One of: nv, rocm, none"),
        ({"imag": "x"}, "Did you mean 'image'"),
    ],
)
def test_a_mistake_in_the_section_is_named(raw, says):
    with pytest.raises(UserError, match=says):
        parse(Config, {"container": raw}, where="kdbatch.toml")


def test_a_missing_file_is_an_error_before_anything_is_submitted_or_written(slurm, tmp_path):
    plan, config = plan_of({"a": ()}), in_image(tmp_path)
    nowhere = replace(config, container=replace(config.container, binds=("/nowhere/at/all:/data",)))
    gone = replace(config, container=replace(config.container, image="gone.sif"))
    for broken, says in (
        (nowhere, r"binds\[0\]: there is no /nowhere/at/all here"),
        (gone, "there is no gone.sif. Make one: make image"),
    ):
        for act_on in (
            lambda c=broken: submit_arrays(plan, config=c),
            lambda c=broken: run_locally(plan, config=c, jobs=1),
            lambda c=broken: describe_launch(plan, config=c, queue="slurm"),
        ):
            with pytest.raises(UserError, match=says):
                act_on()
    assert not config.runs_dir.exists() and not (slurm / "last").exists()


def test_a_runtime_is_needed_only_where_the_runs_start(tmp_path, monkeypatch):
    config = in_image(tmp_path)
    config = replace(config, container=replace(config.container, runtime="no-such-runtime"))
    check_container(config, on_this_machine=False)
    with pytest.raises(UserError, match="no command 'no-such-runtime' here"):
        check_container(config, on_this_machine=True)


def test_an_element_of_an_array_runs_in_the_image(slurm, stand_in_package, tmp_path):
    plan, config = plan_of({"a": (), "b": ()}), in_image(tmp_path)
    bound = replace(
        config.container, env={**config.container.env, "PYTHONPATH": str(stand_in_package.parent)}
    )
    submit_arrays(plan, config=replace(config, container=bound))
    ended = run_array_element(slurm, "41_1")
    assert ended.returncode == 0, ended.stderr
    assert events(plan, config) == ["begin b", "end b"]
    assert "PYTHONPATH" not in (slurm / "apptainer_env.txt").read_text()


def test_the_local_queue_runs_in_the_image_and_stops_workers_through_it(
    slurm, stand_in_package, tmp_path
):
    plan, config = plan_of({"a": (), "b": ("a",)}), in_image(tmp_path)
    config = replace(
        config,
        container=replace(config.container, env={"PYTHONPATH": str(stand_in_package.parent)}),
    )
    act(plan, config, "a", stop_times=1)
    outcome = run_locally(plan, config=config, jobs=1)
    assert outcome.complete, outcome.summary
    assert events(plan, config) == ["begin a", "stop a", "begin a", "end a", "begin b", "end b"]
    wait_until(lambda: (slurm / "apptainer.txt").read_text().count("kdbatch.run") == 3)
    assert RunFolder(config.runs_dir / ids(plan)["a"]).is_done()


def image_hashes(slurm: Path) -> list[str]:
    """The image's hash in the container's environment, if it has one."""
    return re.findall(
        r"^KDBATCH_IMAGE_SHA256=(\w+)$", (slurm / "apptainer_env.txt").read_text(), re.MULTILINE
    )


def test_a_worker_gets_the_hash_of_its_image_and_none_of_an_image_that_was_replaced(
    slurm, stand_in_package, tmp_path
):
    plan, config = plan_of({"a": ()}), in_image(tmp_path)
    config = replace(
        config,
        container=replace(config.container, env={"PYTHONPATH": str(stand_in_package.parent)}),
    )
    image = Path(config.container.image)
    image.write_bytes(b"an image")
    submit_arrays(plan, config=config)
    for content, known in (
        (b"an image", [hashlib.sha256(b"an image").hexdigest()]),
        (b"another one", []),
    ):
        if image.read_bytes() != content:
            image.write_bytes(content)
        subprocess.run(
            ["bash", str(slurm / "41.sbatch")],
            env={**os.environ, "SLURM_JOB_ID": "41"},
            capture_output=True,
            check=False,
        )
        assert image_hashes(slurm) == known
    assert run_locally(plan_of({"a": (), "b": ()}), config=config, jobs=1).complete
    assert image_hashes(slurm) == [hashlib.sha256(b"another one").hexdigest()]


def test_an_image_is_hashed_once_as_long_as_it_is_the_same_file(tmp_path):
    config = in_image(tmp_path)
    image = Path(config.container.image)
    image.write_bytes(b"first")
    first = image_file(config)
    os.utime(image, (0, 0))
    moved = image_file(config)
    image.write_bytes(b"other")  # of the same length; with the old time, nobody could tell
    os.utime(image, (0, 0))
    assert first and moved and moved.sha256 == first.sha256 and image_file(config) == moved
    os.utime(image, (1, 1))
    assert (found := image_file(config)) and found.sha256 == hashlib.sha256(b"other").hexdigest()


def test_an_unpacked_image_has_no_hash(tmp_path):
    config = in_image(tmp_path)
    Path(config.container.image).unlink()
    Path(config.container.image).mkdir()
    assert image_file(config) is None


@pytest.mark.parametrize(
    ("code", "ends"), [("raise SystemExit(85)", 85), ("import os; os.kill(os.getpid(), 9)", 137)]
)
def test_the_signal_forwarder_exits_with_the_code_of_its_command(monkeypatch, code, ends):
    monkeypatch.setenv("KDBATCH_PARENT_PID", str(os.getpid()))
    assert subprocess.run([*FORWARDER, sys.executable, "-c", code], check=False).returncode == ends


def test_a_forwarders_command_gets_sigterm_when_the_queue_is_killed(tmp_path):
    code = """
import signal, time
signal.signal(15, lambda *_: open('received', 'w').close())
open('began', 'w').close()
time.sleep(3)
"""
    queue = """
import os, subprocess, sys
os.environ['KDBATCH_PARENT_PID'] = str(os.getpid())
subprocess.run(sys.argv[1:])
"""
    with subprocess.Popen(
        [sys.executable, "-c", queue, *FORWARDER, sys.executable, "-c", code], cwd=tmp_path
    ) as process:
        wait_until((tmp_path / "began").exists)
        process.kill()
    wait_until((tmp_path / "received").exists)
    assert process.returncode == -signal.SIGKILL
