"""A folder of one user where everybody can make files, tried with a real second user."""

import ctypes
import multiprocessing
import os
import shutil
import subprocess
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from kdbatch.base.temporary.private_folder import (
    ForeignFileError,
    folder_of_this_user,
    open_own_file,
    open_private_folder,
)

OTHER = 12345
CLONE_NEWUSER, PR_SET_DUMPABLE = 0x10000000, 4  # of linux/sched.h, linux/prctl.h
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="acting as another user needs root")


@pytest.fixture
def shared(tmp_path: Path) -> Iterator[Path]:
    """A folder such as /tmp: everybody may make files in it."""
    folder = Path(f"/dev/shm/kdbatch-test-{os.getpid()}")
    folder.mkdir()
    folder.chmod(0o1777)
    yield folder
    shutil.rmtree(folder)


def as_other(*command: str, cwd: Path) -> None:
    subprocess.run(command, cwd=cwd, check=True, user=OTHER, group=OTHER, extra_groups=[])


def refusal_of(path: Path) -> str:
    with pytest.raises(OSError, match=".") as caught, open_private_folder(path):
        pass
    assert caught.value.filename == str(path)
    return caught.value.strerror or ""


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_a_new_folder_is_of_one_user_whatever_the_umask(shared: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        with open_private_folder(shared / "a" / "b") as folder:
            os.close(open_own_file("x", os.O_RDWR | os.O_CREAT, folder=folder))
    finally:
        os.umask(before)
    assert (shared / "a" / "b").stat().st_mode & 0o777 == 0o700
    assert (shared / "a" / "b" / "x").stat().st_mode & 0o777 == 0o600


@needs_root
def test_a_folder_that_another_user_made_first_is_refused(shared: Path) -> None:
    as_other("mkdir", "-m", "777", "theirs", cwd=shared)
    assert refusal_of(shared / "theirs") == f"belongs to another user (uid {OTHER})"
    assert list((shared / "theirs").iterdir()) == []


@pytest.mark.parametrize("command", ["ln -s {victim} link", "ln -s nowhere link"])
@needs_root
def test_a_link_is_refused_even_to_a_folder_of_ones_own(
    shared: Path, tmp_path: Path, command: str
) -> None:
    as_other(*command.format(victim=tmp_path).split(), cwd=shared)
    assert refusal_of(shared / "link") == "is a link"
    assert list(tmp_path.iterdir()) == [] and not (shared / "nowhere").exists()


def test_a_folder_that_others_can_write_to_is_refused_and_one_that_they_can_read_is_closed(
    shared: Path,
) -> None:
    (shared / "open").mkdir()
    (shared / "open").chmod(0o770)
    assert refusal_of(shared / "open") == "can be written to by other users"
    (shared / "open").chmod(0o755)
    with open_private_folder(shared / "open"):
        assert (shared / "open").stat().st_mode & 0o777 == 0o700


def test_a_file_is_used_only_if_it_is_plain_and_has_one_name(shared: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("victim")
    os.mkfifo(shared / "pipe")
    (shared / "link").symlink_to(secret)
    (shared / "folder").mkdir()
    (shared / "file").write_text("x")
    os.link(shared / "file", shared / "twin")
    folder = os.open(shared, os.O_RDONLY)
    try:
        for name in ("pipe", "link", "folder", "file", "twin"):
            for flags in (os.O_RDONLY, os.O_RDWR | os.O_CREAT):
                with pytest.raises(ForeignFileError):
                    open_own_file(name, flags, folder=folder)
    finally:
        os.close(folder)
    assert secret.read_text() == "victim"


@needs_root
def test_a_file_of_another_user_is_refused(shared: Path) -> None:
    with open_private_folder(shared / "a") as folder:
        (shared / "a" / "x").write_text("x")
        os.chown(shared / "a" / "x", OTHER, OTHER)
        with pytest.raises(ForeignFileError):
            open_own_file("x", os.O_RDONLY, folder=folder)


def _use_as_other(path: Path, namespace: str, answer: Connection) -> None:
    """In a process of its own: become the other user, in a namespace as a container makes."""
    os.setgroups([])
    os.setresgid(OTHER, OTHER, OTHER)
    os.setresuid(OTHER, OTHER, OTHER)
    libc = ctypes.CDLL(None)
    if namespace:
        libc.prctl(PR_SET_DUMPABLE, 1)  # which setresuid has cleared: /proc/self was root's
        if libc.unshare(CLONE_NEWUSER):
            answer.send("no namespaces")
            return
        if namespace == "fakeroot":
            Path("/proc/self/uid_map").write_text(f"0 {OTHER} 1")
    folder = folder_of_this_user(path)
    try:
        with open_private_folder(folder):
            answer.send(f"{folder.name} used by {os.geteuid()}")
    except OSError as error:
        answer.send(f"{folder.name} {error.strerror}")


@pytest.mark.parametrize(
    ("namespace", "expected"),
    [
        ("", f"a-{OTHER} used by {OTHER}"),
        ("fakeroot", f"a-{OTHER} used by 0"),  # as apptainer exec --fakeroot
        ("unmapped", "a-65534 has an owner that this container hides"),
    ],
)
@needs_root
def test_the_folder_is_the_same_in_a_container_and_one_that_hides_its_owner_is_refused(
    shared: Path, namespace: str, expected: str
) -> None:
    """A namespace without a map shows the files of all users as those of this process."""
    as_other("mkdir", "-m", "700", "a-65534", cwd=shared)
    fork = multiprocessing.get_context("fork")
    receiver, sender = fork.Pipe(duplex=False)
    process = fork.Process(target=_use_as_other, args=(shared / "a", namespace, sender))
    process.start()
    answer = receiver.recv() if receiver.poll(30) else "none"
    process.join()
    if answer == "no namespaces":
        pytest.skip("users cannot make namespaces here")
    assert answer == expected


def test_a_cache_named_by_the_root_of_the_file_system_has_a_folder_there() -> None:
    assert folder_of_this_user(Path("/")).name.startswith("kdbatch-")
