"""An error of the file system is one line: the path, the reason, what would do, the command."""

import errno
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from support.studies import WriteStudy

from kdbatch.base.atomic_write import atomic_write, write_text
from kdbatch.base.disk_space import DiskFullError
from kdbatch.base.errors import UserError, os_error_line

ROOT = Path(__file__).parents[2]
FORBIDDEN = Path("/sys/fs")  # root may not write there either


def kdbatch(
    runs_dir: Path,
    *words: str,
    prepare: Callable[[], None] | None = None,
    output: int | None = None,
) -> subprocess.CompletedProcess[str]:
    """Call a command in a folder whose kdbatch.toml names the runs."""
    folder = runs_dir.parent
    (folder / "kdbatch.toml").write_text(f'[paths]\nruns = "{runs_dir.name}"\n')
    return subprocess.run(
        [sys.executable, "-m", "kdbatch", *words],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE if output is None else output,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=prepare,
        timeout=120,
    )


def limit_files(num_bytes: int) -> Callable[[], None]:
    """A limit of each file's size: its writes fail as those of a full disk do, without a path."""
    return partial(resource.setrlimit, resource.RLIMIT_FSIZE, (num_bytes, num_bytes))


def write_to_full_disk(_: Path) -> None:
    Path("/dev/full").write_text("x")


def last_line(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 2 and "Traceback" not in done.stderr, done.stderr
    return done.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("num_bytes", "name"), [(4096, "/normal.ttf: "), (100_000, "report/index.html: ")]
)
def test_a_report_that_finds_no_space_names_the_file_and_the_command(
    write_study: WriteStudy, num_bytes: int, name: str
) -> None:
    _, runs_dir = write_study(num_videos=100)
    line = last_line(kdbatch(runs_dir, "report", prepare=limit_files(num_bytes)))
    assert f"{name}File too large" in line and ".part" not in line
    assert line.endswith("Raise the limit, then repeat: kdbatch report")


def test_a_folder_that_may_not_be_written_to_is_named_with_what_would_do(
    write_study: WriteStudy,
) -> None:
    _, runs_dir = write_study(num_videos=100)
    line = last_line(kdbatch(runs_dir, "report", "--to", str(FORBIDDEN)))
    assert line.startswith(f"kdbatch: {FORBIDDEN}") and ".part" not in line
    assert f"Who may use it: ls -ld {FORBIDDEN}. Name another: --to FOLDER, then repeat:" in line


def test_output_to_a_full_disk_is_an_error_of_the_output(write_study: WriteStudy) -> None:
    _, runs_dir = write_study(num_videos=100)
    full = os.open("/dev/full", os.O_WRONLY)
    line = last_line(kdbatch(runs_dir, "status", output=full))
    assert line.startswith("kdbatch: standard output: No space left on device. Make room, then")


def test_the_file_that_was_to_be_written_is_named_and_not_its_temporary_one(
    tmp_path: Path,
) -> None:
    with pytest.raises(DiskFullError) as full:
        atomic_write(tmp_path / "x.json", write_to_full_disk)
    assert full.value.filename == str(tmp_path / "x.json")
    with pytest.raises(PermissionError) as forbidden:
        write_text(FORBIDDEN / "x.json", "x")
    assert forbidden.value.filename == str(FORBIDDEN)

    def fail(part: Path) -> None:
        part.write_text("x")
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with pytest.raises(OSError, match="Input/output error") as broken:
        atomic_write(tmp_path / "y.json", fail)
    assert broken.value.filename == str(tmp_path / "y.json")
    assert list(tmp_path.iterdir()) == []


def test_a_library_may_name_the_temporary_file_by_its_whole_path(in_tmp: Path) -> None:
    def fill(part: Path) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(part.absolute()))

    with pytest.raises(DiskFullError) as full:
        atomic_write(Path("x.mp4"), fill)
    assert full.value.filename == "x.mp4"


def test_a_disk_that_became_read_only_is_told_of_the_file_that_was_to_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Path, **_: bool) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(self))

    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.raises(OSError, match="Read-only") as refused:
        atomic_write(tmp_path / "x.json", refuse)
    assert refused.value.filename == str(tmp_path)


def test_an_error_of_another_file_keeps_its_path(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as absent:
        atomic_write(tmp_path / "x", lambda _: (tmp_path / "absent").unlink())
    assert absent.value.filename == str(tmp_path / "absent")


def test_a_quota_and_a_read_only_file_system_have_their_own_words(tmp_path: Path) -> None:
    words = {"command": "kdbatch report", "other_folder": "Name another: --to FOLDER"}
    quota = OSError(errno.EDQUOT, os.strerror(errno.EDQUOT), str(tmp_path / "x"))
    assert "quota exceeded" in os_error_line(quota, **words)
    read_only = OSError(errno.EROFS, os.strerror(errno.EROFS), str(tmp_path / "a" / "b"))
    assert f"ls -ld {tmp_path}." in os_error_line(read_only, **words)
    assert not isinstance(read_only, UserError)
