import json
import shutil
from pathlib import Path

import pytest

from kdbatch.base.atomic_write import load_json, write_json
from kdbatch.base.errors import UserError

VALUE = {"name": "Größe", "numbers": [1, 2.5, None], "nested": {"deep": True}, "empty": {}}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    write_json(tmp_path / "facts.json", VALUE)
    return tmp_path / "facts.json"


def test_what_was_written_is_read(path: Path):
    assert load_json(path) == VALUE
    assert list(json.loads(path.read_bytes()))[1:-1] == list(VALUE)


def test_an_empty_object_can_be_sealed(tmp_path: Path):
    write_json(tmp_path / "x.json", {})
    assert load_json(tmp_path / "x.json") == {}


def test_no_flipped_bit_is_read(path: Path):
    raw = path.read_bytes()
    for i in range(8 * len(raw)):
        damaged = bytearray(raw)
        damaged[i // 8] ^= 1 << i % 8
        path.write_bytes(damaged)
        with pytest.raises(UserError, match=r"facts\.json: (was changed or damaged|is not JSON)"):
            load_json(path)


@pytest.mark.parametrize("name", ["kdbatch_format", "kdbatch_sha256"])
def test_a_seal_of_which_one_key_was_deleted_is_damage(path: Path, name: str):
    value = json.loads(path.read_bytes())
    del value[name]
    path.write_text(json.dumps(value, indent=1) + "\n")
    with pytest.raises(UserError, match="changed or damaged"):
        load_json(path)


def test_a_value_changed_by_hand_is_damage(path: Path):
    path.write_text(path.read_text().replace("2.5", "2.6"))
    with pytest.raises(UserError, match="changed or damaged.*Fetch it again"):
        load_json(path, advice="Fetch it again.")


def test_files_without_a_seal_are_read_as_they_are(tmp_path: Path):
    for value in (VALUE, [1, 2], "text", 3):
        (tmp_path / "x.json").write_text(json.dumps(value))
        assert load_json(tmp_path / "x.json") == value


def test_a_copy_is_as_good_as_the_file(path: Path):
    assert load_json(Path(shutil.copy(path, path.with_name("copy.json")))) == VALUE
