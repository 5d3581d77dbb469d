"""The sha256 of a file's content, and reading a file whose sha256 is known."""

import hashlib
from pathlib import Path

from kdbatch.base.reading.regular_files import open_regular, read_regular


class DigestError(ValueError):
    """The file's content is not that whose sha256 was recorded."""


def sha256_of(path: Path) -> str:
    """The sha256 of a file's bytes, in hex."""
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_verified(path: Path, sha256: str) -> bytes:
    """The bytes of a file, which are read once.

    Raises:
        DigestError: their sha256 is another one.
        OSError: the file cannot be read.
    """
    content = read_regular(path)
    if hashlib.sha256(content).hexdigest() != sha256:
        raise DigestError("is not what was written there: its sha256 is another one")
    return content
