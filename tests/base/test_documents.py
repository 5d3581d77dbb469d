"""JSON, TOML and YAML of any content: a value, or one line that names the file."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import kdbatch
from kdbatch.base.atomic_write import load_json, load_json_object
from kdbatch.base.errors import UserError
from kdbatch.base.reading.documents import load_toml, parse_json
from kdbatch.plan.yaml_loader import load_yaml
from kdbatch.vocab.config import load_config

DEEP = 100_000
JSON_TEXTS: dict[str, tuple[bytes, str]] = {
    "deep": (b"[" * DEEP, "nested too deep"),
    "deep-objects": (b'{"a":' * DEEP, "nested too deep"),
    "digits": (b'{"a": ' + b"9" * 5000 + b"}", r"is not JSON \(Exceeds the limit"),
    "latin-1": ('{"a": "é"}'.encode("latin-1"), "is not UTF-8 text"),
    "utf-16": ('{"a": 1}'.encode("utf-16"), "has NUL bytes, as UTF-16 text has"),
    "half": (rb'{"title": "\ud800"}', "half of a character"),
    "empty": (b"", r"is not JSON \(Expecting value"),
    "cut": (b'{"a": ', "is not JSON"),
    "nul": (b"\0", "has NUL bytes"),
}


def one_line(call: Callable[[], Any]) -> str:
    with pytest.raises(UserError) as caught:
        call()
    text = str(caught.value)
    assert "\n" not in text and len(text) < 600
    return text


@pytest.mark.parametrize("name", JSON_TEXTS)
def test_json_that_cannot_be_read_is_one_line_with_the_file_and_what_to_do(
    tmp_path: Path, name: str
) -> None:
    path, (raw, says) = tmp_path / "run.json", JSON_TEXTS[name]
    path.write_bytes(raw)
    own = one_line(lambda: load_json(path))
    assert re.search(says, own) and own.startswith(f"{path}: ")
    assert own.endswith("Delete it and repeat the command that wrote it.")
    foreign = one_line(lambda: load_json(path, advice="Fetch it again."))
    assert foreign.endswith("Fetch it again.") and "Delete" not in foreign


@pytest.mark.parametrize("text", ["null", "[]", "3", '"text"', "true"])
def test_another_value_where_an_object_is_wanted_is_one_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config.json"
    path.write_text(text)
    assert "expected an object, names with values in braces, found " in one_line(
        lambda: load_json_object(path)
    )


def test_a_byte_order_mark_is_skipped(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b'\xef\xbb\xbf{"a": 1}')
    assert load_json(path) == {"a": 1}
    assert parse_json(path.read_bytes(), where="x") == {"a": 1}
    assert load_yaml(path) == {"a": 1}
    path.write_bytes(b"\xef\xbb\xbfa = 1\n")
    assert load_toml(path) == {"a": 1}


TOML_TEXTS: dict[str, tuple[bytes, str]] = {
    "deep": (b"a = " + b"[" * DEEP, "nested too deep"),
    "deep-tables": (b"a = " + b"{a=" * DEEP, "nested too deep"),
    "dotted": (b"a." * 5000 + b"a = 1", "nested more than 40 deep"),
    "digits": (b"a = " + b"9" * 5000, "is not TOML"),
    "hexadecimal": (b"a = 0x" + b"f" * 9000, r"a: found a number of about \d+ digits"),
    "date": (b"a = 2024-13-45", "is not TOML|is no number"),
    "latin-1": ('a = "é"'.encode("latin-1"), "is not UTF-8 text"),
    "control": (rb"[site]" + b"\n" + rb'account = "a\u0007b"', r"site\.account: found .*U\+0007"),
    "nul": (b"[paths]\n" + rb'runs = "a\u0000b"', r"paths\.runs: found .*U\+0000"),
    "megabyte": (b'[site]\naccount = "' + b"x" * 1_000_000 + b'"', "1,000,000 characters"),
    "long-name": (b"[site]\n" + b"x" * 100_000 + b" = 1", "found the name 'xxx"),
    "unknown": (b'[datasets.ufc101]\nroot = "/data"', "Did you mean 'ucf101'"),
    "infinite": (b"[cache]\nmax_gb = inf", r"cache\.max_gb: found inf\. Write 0\.001 to"),
}


@pytest.mark.parametrize("name", TOML_TEXTS)
def test_toml_that_cannot_be_read_is_one_line_with_the_file(tmp_path: Path, name: str) -> None:
    path, (raw, says) = tmp_path / "kdbatch.toml", TOML_TEXTS[name]
    path.write_bytes(raw)
    found = one_line(lambda: load_config(path))
    assert re.search(says, found) and found.startswith(f"{path}:")


YAML_TEXTS: dict[str, tuple[bytes, str]] = {
    "deep": (b"a: " + b"[" * DEEP, "nested too deep"),
    "fairly-deep": (b"a: " + b"[" * 60 + b"]" * 60, "nested more than 40 deep"),
    "digits": (b"a: " + b"9" * 5000, "is not of the type int"),
    "hexadecimal": (b"a: 0x" + b"f" * 9000, r"a: found a number of about \d+ digits"),
    "hexadecimal-key": (b"? 0x" + b"f" * 9000 + b"\n: 1", "for a name"),
    "sixties": (b"a: " + b"1:" * 400 + b"1.5", "is not of the type float"),
    "bool": (b"a: !!bool maybe", "is not of the type bool"),
    "date": (b"a: 2024-13-45", "is not of the type timestamp"),
    "float": (b"a: !!float ''", "is not of the type float"),
    "control": (b"a: x\x01y", r"U\+0001"),
    "escape": (rb'a: "x\ud800y"', r"a: found 'x\\ud800y', with the control character U\+D800"),
    "escape-in-name": (rb'"x\ny": 1', r"found the name 'x\\ny'"),
    "megabyte": (b"a: " + b"x" * 1_000_000, "a: found 1,000,000 characters"),
    "many-values": (b"a: &x [" + b"1," * 2000 + b"1]\nb: [" + b"*x," * 2000 + b"*x]", "values of"),
}


@pytest.mark.parametrize("name", YAML_TEXTS)
def test_yaml_that_cannot_be_read_is_one_line_with_the_file(tmp_path: Path, name: str) -> None:
    path, (raw, says) = tmp_path / "x.yaml", YAML_TEXTS[name]
    path.write_bytes(raw)
    found = one_line(lambda: load_yaml(path))
    assert re.search(says, found) and found.startswith(f"{path}:")


def test_json_and_toml_are_parsed_in_one_place() -> None:
    package = Path(kdbatch.__file__).parent
    parsers = re.compile(r"json\.loads?\(|tomllib\.loads?\(|yaml\.(safe_)?load\(")
    found = {
        path.relative_to(package).as_posix()
        for path in package.rglob("*.py")
        if parsers.search(path.read_text(encoding="utf-8"))
    }
    assert found == {"base/reading/documents.py", "plan/yaml_loader.py"}
