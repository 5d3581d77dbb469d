"""Differences between the supported majors of PyAV; the package itself is imported elsewhere."""

from collections.abc import Callable
from functools import partial
from typing import TypeVar

Opener = TypeVar("Opener", bound=Callable[..., object])


def tolerant_open(av_open: Opener, av_version: str) -> Opener:
    """Return `av.open` as a function that also opens files whose metadata is not UTF-8.

    PyAV before 19 raises UnicodeDecodeError for such a file, unless an argument makes it ignore
    these bytes; PyAV 19 keeps them and has no such argument.
    """
    if int(av_version.partition(".")[0]) >= 19:
        return av_open
    return partial(av_open, metadata_errors="ignore")  # pyright: ignore[reportReturnType]
