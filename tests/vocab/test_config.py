from pathlib import Path

import pytest

from kdbatch.vocab.config import Config, load_config
from kdbatch.vocab.errors import UserError
from kdbatch.vocab.runs import Cache


def test_no_file_is_a_valid_file_and_means_no_cache(tmp_path: Path) -> None:
    assert load_config(tmp_path / "kdbatch.toml") == Config()
    assert Config().cache.path == ""


@pytest.mark.parametrize("path", ["/dev/shm/kdbatch", "$TMPDIR/kdbatch"])
def test_a_cache_lies_on_the_node(tmp_path: Path, path: str) -> None:
    file = tmp_path / "kdbatch.toml"
    file.write_text(f'[cache]\npath = "{path}"\nmax_gb = 8\n')
    assert load_config(file).cache == Cache(path=path, max_gb=8.0)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('path = "cache"', r"kdbatch.toml.cache: path: 'cache' depends on the folder .* \$TMPDIR/kdbatch"),
        ('path = "/tmp/x"\nmax_gb = 0', "kdbatch.toml.cache: max_gb: found 0"),
        ('folder = "/tmp/x"', "Cache has no such field"),
    ],
)
def test_a_slip_in_the_cache_section_is_named(tmp_path: Path, text: str, says: str) -> None:
    file = tmp_path / "kdbatch.toml"
    file.write_text(f"[cache]\n{text}\n")
    with pytest.raises(UserError, match=says):
        load_config(file)
