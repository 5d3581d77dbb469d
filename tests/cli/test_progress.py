"""Progress of toy and shard in a terminal of 80 columns, and what Ctrl-C leaves there."""

import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
from support.micro_study import SIZE
from support.terminal import Screen, on_terminal

from kdbatch.base.progress import silent
from kdbatch.shard.toy.write import write_toy

pytestmark = pytest.mark.slow

BAR = re.compile(
    r"[a-z0-9 ]+ [━╸╺ ]{20} +(\d+)/(\d+) [\d,.]+/s (?:[\d.]+ (?:s|min|h) left)?(?: *\S.*)?$"
)


def bars_of(screen: Screen) -> list[tuple[int, int]]:
    """(done, total) of every bar that was drawn; each has all of its columns in 80."""
    bars = [line for line in screen.lines if re.search(r"\d+/\d+", line) and "━" in line]
    assert all(BAR.match(line) and len(line) <= 80 for line in bars), bars
    return [(int(found[1]), int(found[2])) for line in bars if (found := BAR.match(line))]


def stopped_line(screen: Screen) -> str:
    assert screen.code == 130
    assert not any("Traceback" in line or "Error" in line for line in screen.lines)
    assert screen.lines[-1].startswith("kdbatch: stopped: ")
    return screen.lines[-1]


def at_least(num: int, folder: Path, pattern: str) -> Callable[[], bool]:
    return lambda: len(list(folder.glob(pattern))) >= num


def test_an_interrupted_toy_command_says_how_to_go_on(tmp_path: Path) -> None:
    folder = tmp_path / "a demo"
    words = ("toy", str(folder), "--size=small", "--processes=2")
    first = on_terminal(*words, cwd=tmp_path, interrupt_when=at_least(4, folder, "k400/**/*.mp4"))
    again = f"kdbatch toy {shlex.quote(str(folder))} --size small --processes 2"
    kept = f"the finished videos in {folder}/ are kept"
    assert stopped_line(first) == f"kdbatch: stopped: {kept}. Resume: {again}"
    num_kept = len(list(folder.glob("k400/**/*.mp4")))
    second = on_terminal(
        *shlex.split(again)[1:],
        cwd=tmp_path,
        interrupt_when=at_least(num_kept + 6, folder, "k400/**/*.mp4"),
    )
    assert min(done for done, _ in bars_of(second)) >= num_kept
    stopped_line(second)


def test_ctrl_c_while_workers_start_prints_no_trace(tmp_path: Path) -> None:
    started = (tmp_path / "demo" / "toy.json").exists
    screen = on_terminal("toy", "demo", "--processes=2", cwd=tmp_path, interrupt_when=started)
    assert "the finished videos in demo/ are kept" in stopped_line(screen)


def test_an_interrupted_shard_command_says_how_many_shards_are_kept(tmp_path: Path) -> None:
    write_toy(tmp_path, processes=1, progress=silent, size=SIZE)
    shards = tmp_path / "shards" / "ucf101"
    words = ("shard", "ucf101", "--videos-per-shard=2", "--processes=2")
    # A shard is finished when it has its record, which is written after the tar.
    screen = on_terminal(*words, cwd=tmp_path, interrupt_when=at_least(2, shards, "all-*.json"))
    found = re.match(
        r"kdbatch: stopped: (\d+) of (\d+) shards of ucf101/all are finished and kept\. "
        r"Resume: kdbatch (.*)$",
        stopped_line(screen),
    )
    finished = [record.with_suffix(".tar") for record in shards.glob("all-*.json")]
    assert found and 2 <= len(finished) == int(found[1]) < int(found[2])
    kept = {path: path.stat().st_mtime_ns for path in finished}
    rest = on_terminal(*shlex.split(found[3]), cwd=tmp_path)
    assert rest.code == 0 and bars_of(rest)
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
