"""Texts in another encoding than UTF-8, which editors and spreadsheets of Windows write."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kdbatch.base.atomic_write import load_json
from kdbatch.base.errors import UserError
from kdbatch.base.reading.documents import load_toml
from kdbatch.plan.outside.imported_file import class_names
from kdbatch.plan.specs import TeacherSpec
from kdbatch.plan.yaml_loader import load_yaml
from kdbatch.shard.datasets.video_table import read_table
from kdbatch.shard.sources import read_lines
from kdbatch.vocab.leaks.overlap_list import load_overlap_list
from kdbatch.vocab.sources.dataset_source import TableColumns


def names_in(path: Path) -> Any:
    spec = TeacherSpec(title="T1", target="ucf101", outputs="o.parquet", classes=str(path))
    return class_names(spec, where="mine.yaml: T1")


READERS: dict[str, tuple[str, Callable[[Path], Any]]] = {
    "kdbatch.toml": ("[site]\n", load_toml),
    "job.yaml": ("name: mine\n", load_yaml),
    "validation.json": ("[1]", load_json),
    "classes.txt": ("run\njump\n", names_in),
    "trainlist01.txt": ("run/a.avi 1\n", read_lines),
    "videos.csv": (
        "path,label\na.mp4,run\n",
        lambda path: read_table(path, TableColumns(), root=path.parent),
    ),
    "videos.tsv": (
        "path\tlabel\na.mp4\trun\n",
        lambda path: read_table(path, TableColumns(), root=path.parent),
    ),
    "overlap.csv": ("", lambda path: load_overlap_list(path, first="k400", where="mine.yaml")),
}


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
@pytest.mark.parametrize("name", READERS)
def test_a_wide_encoding_is_named(tmp_path: Path, name: str, encoding: str) -> None:
    path, (text, read) = tmp_path / name, READERS[name]
    path.write_bytes((text or "a,b\n").encode(encoding))
    with pytest.raises(UserError) as caught:
        read(path)
    says = f"{path}: has NUL bytes, as UTF-16 text has, and is read as UTF-8."
    # A list that an experiment names is told with its place there.
    assert str(caught.value).removeprefix("mine.yaml: ").startswith(says)


@pytest.mark.parametrize("name", READERS)
def test_a_byte_order_mark_of_utf8_is_no_part_of_the_text(tmp_path: Path, name: str) -> None:
    path, (text, read) = tmp_path / name, READERS[name]
    path.write_bytes(text.encode())
    if text:
        plain = read(path)
        path.write_bytes(text.encode("utf-8-sig"))
        assert read(path) == plain
