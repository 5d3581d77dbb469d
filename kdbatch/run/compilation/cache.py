"""The folder in which torch and Triton keep the code that they compile."""

import atexit
import tempfile
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import ExitStack
from pathlib import Path

import torch

from kdbatch.base.temporary.private_folder import folder_of_this_user, open_private_folder
from kdbatch.base.temporary.temporary_folder import temporary_folder


def choose_compile_cache(
    environ: MutableMapping[str, str],
    *,
    runs_dir: Path | None = None,
    image_sha256: str = "",
    warn: Callable[[str], object] = print,
) -> None:
    """Let torch and Triton keep compiled code in a folder that only this user can write to.

    That is one for all runs in `runs_dir`, with a folder for each version of torch and each image;
    torch writes files whole, so many jobs may use it at once. Their own choice,
    /tmp/torchinductor_NAME, may have been made by another user, with code of his own in it. Where
    our folder cannot be used it is one in the temporary folder of the machine, and where that
    happened there as well, the cache lives as long as this process. A folder that `environ`
    names already stays.
    """
    if "TORCHINDUCTOR_CACHE_DIR" in environ:
        return
    folder = _private_folder(runs_dir, warn) / f"torch-{torch.__version__}-{image_sha256[:12]}"
    environ["TORCHINDUCTOR_CACHE_DIR"] = str(folder)
    environ.setdefault("TRITON_CACHE_DIR", str(folder / "triton"))


def _private_folder(runs_dir: Path | None, warn: Callable[[str], object]) -> Path:
    for folder in _candidates(runs_dir):
        try:
            with open_private_folder(folder):
                return folder
        except OSError as error:
            warn(f"{folder}: {error.strerror}, so compiled code is kept elsewhere")
    until_exit = ExitStack()
    atexit.register(until_exit.close)
    return until_exit.enter_context(temporary_folder("compile"))


def _candidates(runs_dir: Path | None) -> Iterator[Path]:
    if runs_dir is not None:
        yield folder_of_this_user(runs_dir / ".compiled")
    yield folder_of_this_user(Path(tempfile.gettempdir()) / "kdbatch-compiled")
