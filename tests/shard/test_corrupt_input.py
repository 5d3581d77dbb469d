"""Damaged files and full disks: each is one row of rejected.parquet or an error of one line."""

import errno
import os
import random
import re
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from support.small_disk import small_disk
from support.toys import toy_request
from support.videos import write_audio, write_video

from kdbatch.base.errors import UserError
from kdbatch.base.progress import silent
from kdbatch.shard.build import build_shards
from kdbatch.shard.datasets import READERS
from kdbatch.shard.shard_plan import plan_shards
from kdbatch.shard.stored import BrokenVideo
from kdbatch.shard.transcode import transcode
from kdbatch.shard.verify import verify_shards
from kdbatch.vocab.shards.index import ShardIndex
from kdbatch.vocab.shards.subset import find_subset, load_samples


def _build(root: Path, shards_dir: Path, **options) -> ShardIndex:
    request = toy_request(**{"max_rejected": 0.5, **options})
    return build_shards(request, root=root, shards_dir=shards_dir, progress=silent)


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


DAMAGE = {
    "cut short": (_cut, "cut short|cannot be decoded"),  # depends on where the header is
    "zero bytes": (lambda path: path.write_bytes(b""), r"empty file \(0 bytes\)"),
    "audio only": (write_audio, "holds no video stream"),
    "one frame": (lambda path: write_video(path, num_frames=1), "holds one frame"),
    "text": (
        lambda path: path.write_text("<html>This video is not available</html>" * 20),
        "cannot be decoded: Invalid data",
    ),
    "random bytes": (
        lambda path: path.write_bytes(random.Random(0).randbytes(5000)),
        "cannot be decoded: Invalid data",
    ),
    "folder": (lambda path: (path.unlink(), path.mkdir()), "cannot be (read|decoded)"),
    "dangling link": (
        lambda path: (path.unlink(), path.symlink_to("nowhere")),
        "cannot be read: No such file",
    ),
}


@pytest.mark.parametrize("transcode", [True, False], ids=["transcoded", "originals"])
@pytest.mark.parametrize("how", DAMAGE)
def test_a_broken_video_is_one_row_with_its_reason(
    toys: Path, tmp_path: Path, how: str, transcode: bool
) -> None:
    shutil.copytree(toys / "k400" / "val", tmp_path / "val")
    broken = sorted((tmp_path / "val").rglob("*.mp4"))[1]
    damage, reason = DAMAGE[how]
    damage(broken)
    index = _build(tmp_path, tmp_path / "shards", split="val", transcode=transcode)
    (row,) = pq.read_table(tmp_path / "shards" / "k400" / "rejected.parquet").to_pylist()
    assert row["path"] == str(broken.relative_to(tmp_path))
    assert re.search(reason, row["reason"])
    assert [(shard.num_videos, shard.num_rejected) for shard in index.parts["val"].shards] == [
        (3, 1)
    ]
    assert verify_shards("k400", shards_dir=tmp_path / "shards", progress=silent) == 3


def test_file_names_in_any_script_and_in_invalid_utf8_are_stored(
    toys: Path, tmp_path: Path
) -> None:
    shutil.copytree(toys / "k400" / "val", tmp_path / "val")
    videos = sorted((tmp_path / "val").rglob("*.mp4"))
    names = [
        "日本語 (видео) & co..mp4",
        os.fsdecode(b"caf\xe9 #1;!@.mp4"),
        "o\u0308.mp4",
        "x" * 200 + ".mp4",
    ]
    for path, name in zip(videos, names, strict=True):
        path.rename(path.with_name(name))
    index = _build(tmp_path, tmp_path / "shards", split="val")
    samples = [
        sample
        for _, sample in load_samples(
            tmp_path / "shards", find_subset(index, "val", "all", where="here")
        )
    ]
    assert len({sample.key for sample in samples}) == 4
    assert verify_shards("k400", shards_dir=tmp_path / "shards", progress=silent) == 4


def test_a_tar_that_was_cut_short_is_found_and_made_again(toys: Path, tmp_path: Path) -> None:
    _build(toys / "k400", tmp_path, split="val")
    tar = tmp_path / "k400" / "val-00000.tar"
    whole = tar.read_bytes()
    _cut(tar)
    with pytest.raises(
        UserError,
        match="1 of 1 shards are damaged: val-00000.tar: of another size than its record has"
        ".*kdbatch shard k400",
    ):
        verify_shards("k400", shards_dir=tmp_path, progress=silent)
    _build(toys / "k400", tmp_path, split="val")
    assert tar.read_bytes() == whole


LISTS = {
    "ssv2": ("labels/labels.json", "labels/train.json"),
    "ucf101": ("ucfTrainTestlist/classInd.txt", "ucfTrainTestlist/trainlist01.txt"),
    "hmdb51": ("testTrainMulti_7030_splits/bouncing_cone_test_split1.txt",),
}
WRONG = {
    "binary": bytes(range(256)) * 4,
    "html": b"<!doctype html><html><body>404</body></html>\n",
    "empty": b"",
    "other json": b'{"a": [1, {"b": null}], "c": "d"}',
    "a list": b'[{"id": ["x"], "template": {"y": 1}}, 3, null]',
}


@pytest.mark.parametrize("content", WRONG)
@pytest.mark.parametrize(
    ("name", "path"), [(name, path) for name, paths in LISTS.items() for path in paths]
)
def test_a_wrong_list_file_is_an_error_of_one_line_that_names_it(
    toys: Path, tmp_path: Path, name: str, path: str, content: str
) -> None:
    root = tmp_path / name
    shutil.copytree(toys / name, root)
    (root / path).write_bytes(WRONG[content])
    with pytest.raises(UserError) as caught:
        READERS[name](root, "train" if name == "ssv2" else "all")
    assert "\n" not in str(caught.value)
    assert Path(path).name.split("_test")[0] in str(caught.value)


def test_a_wrong_csv_of_kinetics_is_a_user_error(toys: Path, tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    shutil.copy(next((toys / "k400" / "train").rglob("*.mp4")), tmp_path / "train")
    (tmp_path / "annotations").mkdir()
    for content in WRONG.values():
        (tmp_path / "annotations" / "train.csv").write_bytes(
            b"label,youtube_id,time_start,time_end,split\n" + content
        )
        with pytest.raises(
            UserError, match="train.csv: (line|has NUL)|No video can be stored|there is no video"
        ):
            READERS["k400"](tmp_path, "train")


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 kB."""
    with small_disk(tmp_path / "disk", size="64k") as folder:
        yield folder


def test_a_full_disk_is_a_user_error_and_with_space_the_build_continues(
    toys: Path, tiny_disk: Path, tmp_path: Path
) -> None:
    with pytest.raises(
        UserError,
        match="shards cannot be written .No space left on device"
        ".*Finished ones are kept.*kdbatch shard k400",
    ):
        _build(toys / "k400", tiny_disk, videos_per_shard=1)
    finished = sorted(path.name for path in (tiny_disk / "k400").glob("*.json"))
    assert finished and not list((tiny_disk / "k400").glob("*.part"))
    subprocess.run(["mount", "-o", "remount,size=8m", str(tiny_disk)], check=True)
    before = {name: (tiny_disk / "k400" / name).stat().st_mtime_ns for name in finished}
    _build(toys / "k400", tiny_disk, videos_per_shard=1)
    assert {name: (tiny_disk / "k400" / name).stat().st_mtime_ns for name in finished} == before
    assert verify_shards("k400", shards_dir=tiny_disk, progress=silent) == 12


def test_the_error_of_a_full_temporary_folder_names_that_folder(
    toys: Path, tiny_disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tiny_disk))
    (tiny_disk / "others").write_bytes(b"x" * 60_000)
    with pytest.raises(
        UserError,
        match=f"^{tiny_disk}: temporary files cannot be written .No space left on device"
        ".*TMPDIR.*kdbatch shard",
    ):
        _build(toys / "k400", tmp_path / "shards")
    (tiny_disk / "others").unlink()
    assert _build(toys / "k400", tmp_path / "shards").parts["train"].num_places == 12


@pytest.mark.parametrize("number", [errno.ESTALE, errno.ETIMEDOUT])
def test_a_file_server_that_does_not_answer_stops_the_build_and_rejects_nothing(
    toys: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    first = plan_shards(toy_request(), root=toys / "k400", shards_dir=tmp_path).order[0].path

    def no_answer(*args: object, **options: object) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr("av.open", no_answer)
        with pytest.raises(
            UserError,
            match=f"^{first}: cannot be read .{os.strerror(number)}"
            ".*go on with: kdbatch shard k400",
        ):
            _build(toys / "k400", tmp_path)
    assert (
        sum(shard.num_rejected for shard in _build(toys / "k400", tmp_path).parts["train"].shards)
        == 0
    )


def test_too_little_memory_is_an_os_error_but_a_video_that_needs_absurd_amounts_is_broken(
    tmp_path: Path,
) -> None:
    path = write_video(tmp_path / "a.mp4")
    raw = path.read_bytes()
    # The number of entries in the table of times, ISO/IEC 14496-12 8.6.1.2.
    count = raw.index(b"stts") + 8
    path.write_bytes(raw[:count] + b"\x7f" + raw[count + 1 :])
    with pytest.raises(BrokenVideo, match="asks for more memory than any video needs"):
        transcode(path)
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + (1 << 27), hard))
    try:
        with pytest.raises(OSError, match="Cannot allocate memory"):
            transcode(path)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def test_a_read_only_disk_is_a_user_error(toys: Path, tiny_disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(tiny_disk)], check=True)
    with pytest.raises(UserError, match="shards cannot be written .Read-only file system"):
        _build(toys / "k400", tiny_disk)


def test_a_limit_on_file_sizes_is_an_error_of_one_line_from_worker_processes_too(
    toys: Path, tmp_path: Path
) -> None:
    arguments = ["shard", "k400", f"--root={toys / 'k400'}", "--processes=2"]
    code = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (4000, 4000))\n"
        "from kdbatch.cli.commands import main\n"
        "if __name__ == '__main__':\n"
        f"    sys.argv[1:] = {arguments!r}; main()\n"
    )
    script = tmp_path / "limited.py"
    script.write_text(code)
    done = subprocess.run(
        [sys.executable, str(script)], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2, done
    assert "shards cannot be written (File too large: shards/k400/train-0" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "shards" / "k400" / "rejected.parquet").exists()
