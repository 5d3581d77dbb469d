import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdbatch.base.errors import UserError
from kdbatch.shard.datasets import READERS
from kdbatch.shard.sources import read_lines, safe_key

KEY = re.compile(r"[a-z0-9_-]{1,80}")


def test_names_that_differ_only_in_case_get_different_keys(tmp_path: Path) -> None:
    for name in ("abcdefghijk_000001_000011", "ABCDEFGHIJK_000001_000011"):
        (tmp_path / "train" / "a class").mkdir(parents=True, exist_ok=True)
        (tmp_path / "train" / "a class" / f"{name}.mp4").write_bytes(b"x")
    keys = {source.key for source in READERS["k400"](tmp_path, "train").videos}
    assert len(keys) == 2 and all(KEY.fullmatch(key) for key in keys)


@given(st.text(min_size=1))
def test_any_name_gives_a_safe_key(name: str) -> None:
    assert KEY.fullmatch(safe_key(name))


def test_keys_of_plain_names_are_readable_and_lost_letters_add_a_hash() -> None:
    assert safe_key("v_Archery_g01_c02") == "v_archery_g01_c02"
    assert safe_key("Kötü_#1") == "kotu_-1"
    assert safe_key("日本") != safe_key("中国")


def test_lines_are_read_without_ends_and_blank_ones_and_with_bytes_that_are_not_utf8(
    tmp_path: Path,
) -> None:
    (tmp_path / "list.txt").write_bytes(b"\xef\xbb\xbfone 1\r\n\n  two \xfc 2 \n")
    assert read_lines(tmp_path / "list.txt") == ["one 1", "two \udcfc 2"]


def test_an_empty_and_a_missing_list_are_errors(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_bytes(b" \r\n")
    with pytest.raises(UserError, match="list.txt: is empty"):
        read_lines(tmp_path / "list.txt")
    with pytest.raises(UserError, match="nothing.txt: cannot be read .No such file"):
        read_lines(tmp_path / "nothing.txt")
