"""Images of a registry: pulled once into [paths] images, by a stand-in apptainer on PATH."""

import hashlib
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from support.launching import config_in
from support.wait import wait_until

from kdbatch.base.errors import UserError
from kdbatch.launch.checks.doctor import run_checks
from kdbatch.launch.container.command import check_container, python_command
from kdbatch.launch.container.image import image_file, image_path
from kdbatch.launch.container.pull import prepare_container
from kdbatch.vocab.config import Config, Container

DIGEST = "a1" * 32
REFERENCE = f"oras://registry:5000/lab/kdbatch@sha256:{DIGEST}"
# apptainer pull --force FILE REFERENCE
PULL = """#!/bin/bash
[ "$1" = pull ] || exit 0
cd {folder}
echo "$4" >>pulls
[ -e refuses ] && {{ echo "INFO: trying" >&2; echo "FATAL: no such manifest" >&2; exit 255; }}
printf half >"$3"
while [ -e waits ]; do sleep 0.02; done
printf 'whole image' >"$3"
"""
PROCESS = """
import sys
from pathlib import Path
sys.path[:0] = {path!r}
from launch.container.test_pull import pulled_config
from kdbatch.launch.container.pull import prepare_container
prepare_container(pulled_config(Path({folder!r})), on_this_machine=True)
"""


def pulled_config(folder: Path) -> Config:
    config = config_in(folder)
    return replace(
        config,
        paths=replace(config.paths, images=str(folder / "images")),
        container=Container(image=REFERENCE, runtime=str(folder / "apptainer")),
    )


@pytest.fixture
def config(tmp_path: Path) -> Config:
    (tmp_path / "apptainer").write_text(PULL.format(folder=tmp_path))
    (tmp_path / "apptainer").chmod(0o755)
    return pulled_config(tmp_path)


def start_process(folder: Path) -> "subprocess.Popen[bytes]":
    code = PROCESS.format(path=[p for p in sys.path if p], folder=str(folder))
    return subprocess.Popen([sys.executable, "-c", code], start_new_session=True)


def pulls(folder: Path) -> list[str]:
    return (folder / "pulls").read_text().splitlines()


def test_an_image_is_pulled_once_and_its_hash_is_that_of_its_file(config, tmp_path):
    said: list[str] = []
    for _ in range(2):
        prepare_container(config, on_this_machine=True, say=said.append)
    path = image_path(config)
    assert path == tmp_path / "images" / f"kdbatch-{DIGEST[:16]}.sif"
    assert said == [f"{REFERENCE} is pulled into {path}, once"]
    assert pulls(tmp_path) == [REFERENCE] and path.read_text() == "whole image"
    file = image_file(config)
    assert file and file.sha256 == hashlib.sha256(b"whole image").hexdigest()
    assert str(path) in python_command(config, folders=())


def test_processes_that_need_an_image_at_once_pull_it_once(config, tmp_path):
    (tmp_path / "waits").touch()
    processes = [start_process(tmp_path) for _ in range(4)]
    wait_until((tmp_path / "pulls").exists)
    (tmp_path / "waits").unlink()
    assert [process.wait() for process in processes] == [0] * 4
    assert pulls(tmp_path) == [REFERENCE]


def test_an_interrupted_pull_is_not_used_and_repeated(config, tmp_path):
    (tmp_path / "waits").touch()
    process = start_process(tmp_path)
    wait_until((tmp_path / "pulls").exists)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not image_path(config).exists() and image_file(config) is None
    (tmp_path / "waits").unlink()
    prepare_container(config, on_this_machine=True)
    assert image_path(config).read_text() == "whole image" and len(pulls(tmp_path)) == 2


def test_a_file_that_is_not_the_pulled_one_is_pulled_again(config, tmp_path):
    prepare_container(config, on_this_machine=True)
    image_path(config).write_bytes(b"cut")
    assert image_file(config) is None
    prepare_container(config, on_this_machine=True)
    assert image_path(config).read_text() == "whole image"


def test_doctor_tells_an_image_that_is_missing_whole_or_damaged(config):
    def told() -> tuple[str, str]:
        found = next(f for f in run_checks(config) if f.subject == "image")
        return found.severity, found.message

    folder = image_path(config).parent
    assert told() == ("note", f"is not in {folder} yet: the first submit pulls it")
    prepare_container(config, on_this_machine=True)
    assert told()[0] == "ok" and "has the bytes that were pulled" in told()[1]
    before = image_path(config).stat()
    image_path(config).write_bytes(b"WHOLE image")  # of the same size and time
    os.utime(image_path(config), (before.st_atime, before.st_mtime))
    severity, message = told()
    assert severity == "bad" and f"pulls it again: rm {image_path(config)}" in message


def test_the_words_of_the_runtime_tell_why_nothing_was_pulled(config, tmp_path):
    (tmp_path / "refuses").touch()
    with pytest.raises(UserError, match=r"was not pulled \(FATAL: no such manifest\). Try it:"):
        prepare_container(config, on_this_machine=True)
    assert not image_path(config).exists()


def test_a_tag_is_refused_with_what_to_write():
    config = Config(container=Container(image="docker://127.0.0.1:9/lab/kd:1"))
    says = r'may be another image tomorrow. Write: image = "docker://127.0.0.1:9/lab/kd@sha256:DIG'
    with pytest.raises(UserError, match=says):
        check_container(config, on_this_machine=False)


@pytest.mark.parametrize(
    ("image", "says"),
    [
        (
            f"oras://a/b:1@sha256:{DIGEST}",
            "a tag and a digest. Write the digest alone: oras://a/b@",
        ),
        ("library://a/b", "found 'library://a/b'. Write the path of a file, or oras://HOST/NAME@"),
        ("oras://a/b@sha256:12", "found 'oras://a/b@sha256:12'. Write the path of a file"),
        ("docker://a b", "found 'docker://a b'. Write"),
    ],
)
def test_a_name_that_is_no_reference_is_refused(image, says):
    with pytest.raises(UserError, match=says):
        Container(image=image)
