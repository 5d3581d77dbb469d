from dataclasses import replace
from pathlib import Path

import pytest

from kdbatch.base.errors import UserError
from kdbatch.vocab.config import SHARD_RESOURCES, Config, load_config
from kdbatch.vocab.jobs.resources import Resources
from kdbatch.vocab.runs.cache import Cache


def test_no_file_is_a_valid_file_and_means_no_cache(tmp_path: Path) -> None:
    assert load_config(tmp_path / "kdbatch.toml") == Config()
    assert Config().cache.path == ""


def test_a_folder_in_place_of_the_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "kdbatch.toml").mkdir()
    with pytest.raises(UserError, match="kdbatch.toml: cannot be read .Is a directory"):
        load_config(tmp_path / "kdbatch.toml")


@pytest.mark.parametrize("path", ["/dev/shm/kdbatch", "$TMPDIR/kdbatch"])
def test_a_cache_is_on_the_node(tmp_path: Path, path: str) -> None:
    file = tmp_path / "kdbatch.toml"
    file.write_text(f'[cache]\npath = "{path}"\nmax_gb = 8\n')
    assert load_config(file).cache == Cache(path=path, max_gb=8.0)


def test_shards_request_no_gpu_unless_configured(tmp_path: Path) -> None:
    file = tmp_path / "kdbatch.toml"
    file.write_text("[resources.shard]\ncpus = 4\n[resources.pretrain]\ncpus = 4\n")
    found = load_config(file).resources
    assert found["shard"] == replace(SHARD_RESOURCES, cpus=4) and found["shard"].gpus == 0
    assert found["pretrain"] == Resources(cpus=4) and found["pretrain"].gpus == 1
    file.write_text("[resources.shard]\ngpus = 1\n")
    assert load_config(file).resources["shard"].gpus == 1
    file.write_text("[resources.shard]\ncpu = 4\n")
    with pytest.raises(UserError, match="resources.shard has no field 'cpu'. Did you mean 'cpus'"):
        load_config(file)


@pytest.mark.parametrize(
    ("section", "line", "least"),
    [
        ("site", "max_array_size = 0", 1),
        ("site", "max_array_size = -1", 1),
        ("site", "max_concurrent = 0", 1),
        ("retries", "crash = -5", 0),
        ("resources.pretrain", "nodes = 0", 1),
    ],
)
def test_a_number_that_is_too_small_is_named(
    tmp_path: Path, section: str, line: str, least: int
) -> None:
    file = tmp_path / "kdbatch.toml"
    file.write_text(f"[{section}]\n{line}\n")
    name, _, number = line.partition(" = ")
    with pytest.raises(
        UserError, match=f"kdbatch.toml: {section}.{name}: found {number}. Write {least} to "
    ):
        load_config(file)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            'path = "cache"',
            r"kdbatch.toml: cache.path: 'cache' depends on the folder .* \$TMPDIR/kdbatch",
        ),
        ('path = "/tmp/x"\nmax_gb = 0', "kdbatch.toml: cache.max_gb: found 0"),
        ('folder = "/tmp/x"', "kdbatch.toml: cache has no field 'folder'"),
    ],
)
def test_a_mistake_in_the_cache_section_is_named(tmp_path: Path, text: str, says: str) -> None:
    file = tmp_path / "kdbatch.toml"
    file.write_text(f"[cache]\n{text}\n")
    with pytest.raises(UserError, match=says):
        load_config(file)
