"""The sha256 of a file's content, and reading a file whose sha256 is known."""

import hashlib
from pathlib import Path


class DigestError(ValueError):
    """The file's content is not that whose sha256 was recorded."""


def sha256_of(path: Path) -> str:
    """The sha256 of a file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_verified(path: Path, sha256: str) -> bytes:
    """The bytes of a file, which are read once.

    Raises:
        DigestError: their sha256 is another one.
        OSError: the file cannot be read.
    """
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != sha256:
        raise DigestError("is not what was written there: its sha256 is another one")
    return content
