"""Where torch keeps the code that it compiles: never where another user was first."""

import os
import tempfile
from pathlib import Path

import pytest

from kdbatch.run.device import choose_compile_cache


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_compiled_code_is_kept_in_a_private_folder(temporary: Path) -> None:
    environ: dict[str, str] = {}
    choose_compile_cache(environ)
    folder = Path(environ["TORCHINDUCTOR_CACHE_DIR"])
    assert folder == temporary / f"kdbatch-compiled-{os.geteuid()}"
    assert folder.stat().st_mode & 0o777 == 0o700


def test_a_folder_that_others_can_write_to_is_not_used_and_a_named_one_is(temporary: Path) -> None:
    planted = temporary / f"kdbatch-compiled-{os.geteuid()}"
    planted.mkdir()
    planted.chmod(0o777)
    environ: dict[str, str] = {}
    choose_compile_cache(environ)
    assert Path(environ["TORCHINDUCTOR_CACHE_DIR"]).name.startswith("kdbatch-compile-")
    environ = {"TORCHINDUCTOR_CACHE_DIR": "/scratch/mine"}
    choose_compile_cache(environ)
    assert environ == {"TORCHINDUCTOR_CACHE_DIR": "/scratch/mine"}
