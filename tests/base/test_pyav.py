import pytest

from kdbatch.base.pyav import tolerant_open


def open_18(file: str, *, metadata_errors: str = "strict") -> str:
    """Stands for `av.open` before 19."""
    return f"{file}, {metadata_errors}"


def open_19(file: str) -> str:
    """Stands for `av.open` from 19 on."""
    return file


@pytest.mark.parametrize("version", ["17.0.0", "18.1.0"])
def test_before_19_the_bytes_of_metadata_are_ignored(version: str) -> None:
    assert tolerant_open(open_18, version)("a.mp4") == "a.mp4, ignore"


@pytest.mark.parametrize("version", ["19.0.2", "20.0.0a1"])
def test_from_19_on_no_argument_is_given_that_is_gone(version: str) -> None:
    assert tolerant_open(open_19, version)("a.mp4") == "a.mp4"
