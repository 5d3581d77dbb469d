"""Prints the lock without what a site's own image brings: torch, and what belongs to its build.

Usage: `python3 base.py PYPROJECT LOCK`, with the image's own Python. It ends with a line where that
is older than pyproject.toml asks.
"""

import re
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

BROUGHT = re.compile(r"(torch|torchvision|triton|nvidia-[\w-]+|cuda-[\w-]+)==")


def numbers(text: str) -> tuple[int, ...]:
    """The release of a version: (2, 11, 0) of 2.11.0a0+git1234."""
    return tuple(int(part) for part in text.split("+")[0].split(".") if part.isdecimal())


def missing(package: str, least: str) -> str:
    """The line that says what is wrong with a package of the image; empty where nothing is."""
    try:
        found = version(package)
    except PackageNotFoundError:
        return f"the base image has no {package}; kdbatch needs {least} or newer"
    release = re.match(r"\d+(\.\d+)*", found)
    if release and numbers(release[0]) >= numbers(least):
        return ""
    return f"the base image has {package} {found}; kdbatch needs {least} or newer"


def without_brought(lock: str) -> str:
    """The lock without the packages that the image brings."""
    pins = re.split(r"(?m)^(?=[a-z0-9])", lock)
    return "".join(pin for pin in pins if not BROUGHT.match(pin))


def main(project: str, lock: str) -> str:
    """The reduced lock; exits with a line where the image is too old."""
    if sys.version_info < (3, 11):  # noqa: UP036 - that of the image
        return sys.exit(f"the base image has Python {sys.version.split()[0]}; kdbatch needs 3.11")
    bounds = re.findall(r'"(torch|torchvision)>=([\d.]+)', Path(project).read_text("utf-8"))
    if problems := [text for package, least in bounds if (text := missing(package, least))]:
        return sys.exit("\n".join(problems))
    return without_brought(Path(lock).read_text("utf-8"))


if __name__ == "__main__":
    sys.stdout.write(main(*sys.argv[1:]))
