"""Where torch keeps the code that it compiles: never where another user was first."""

import os
import tempfile
from pathlib import Path

import pytest

from kdbatch.run.compilation.cache import choose_compile_cache


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def chosen(**environ: str) -> dict[str, str]:
    choose_compile_cache(environ, warn=lambda line: None)
    return environ


def test_compiled_code_is_kept_in_a_private_folder(temporary: Path) -> None:
    folder = Path(chosen()["TORCHINDUCTOR_CACHE_DIR"]).parent
    assert folder == temporary / f"kdbatch-compiled-{os.geteuid()}"
    assert folder.stat().st_mode & 0o777 == 0o700


def test_runs_of_a_study_and_an_image_have_one_cache(temporary: Path, tmp_path: Path) -> None:
    def of(image: str) -> Path:
        environ: dict[str, str] = {}
        choose_compile_cache(environ, runs_dir=tmp_path / "runs", image_sha256=image)
        folder = Path(environ["TORCHINDUCTOR_CACHE_DIR"])
        assert Path(environ["TRITON_CACHE_DIR"]).parent == folder
        return folder

    assert of("a" * 64) == of("a" * 64) != of("b" * 64)
    private = tmp_path / "runs" / f".compiled-{os.geteuid()}"
    assert of("").parent == private and private.stat().st_mode & 0o777 == 0o700


def test_a_folder_of_the_study_that_others_can_write_to_is_not_used_which_is_said(
    temporary: Path, tmp_path: Path
) -> None:
    planted = tmp_path / "runs" / f".compiled-{os.geteuid()}"
    planted.mkdir(parents=True)
    planted.chmod(0o777)
    environ: dict[str, str] = {}
    lines: list[str] = []
    choose_compile_cache(environ, runs_dir=tmp_path / "runs", warn=lines.append)
    assert "kdbatch-compiled" in environ["TORCHINDUCTOR_CACHE_DIR"]
    assert not any(planted.iterdir())
    wanted = "can be written to by other users, so compiled code is kept elsewhere"
    assert lines == [f"{planted}: {wanted}"]


def test_a_folder_that_others_can_write_to_is_not_used_and_a_named_one_is(temporary: Path) -> None:
    planted = temporary / f"kdbatch-compiled-{os.geteuid()}"
    planted.mkdir()
    planted.chmod(0o777)
    folder = Path(chosen()["TORCHINDUCTOR_CACHE_DIR"])
    assert folder.parent.name.startswith("kdbatch-compile-")
    named = {"TORCHINDUCTOR_CACHE_DIR": "/scratch/mine"}
    assert chosen(**named) == named
