"""The versions of a container's runtime and packages, and the command that installs a package.

A runtime, the site's start-up files and the packages may print lines of their own before them.
"""

import re
from importlib.metadata import PackageNotFoundError, requires

from kdbatch.base.command_lines import shell_word
from kdbatch.base.errors import UserError
from kdbatch.base.reading.documents import parse_json

MARK = "kdbatch and submitit:"
VERSIONS_CODE = (
    f"import json, kdbatch, submitit; print('{MARK}'); "
    "print(json.dumps([kdbatch.__version__, submitit.__version__]))"
)
"""Python that prints the versions, after a line that marks them."""


def read_versions(printed: str) -> tuple[str, str] | None:
    """The versions of kdbatch and submitit that VERSIONS_CODE has printed; None without them."""
    for line in printed.rpartition(MARK)[2].split("\n"):
        if line.strip().startswith("["):
            try:
                values = parse_json(line, where="the versions")
            except UserError:
                continue
            if len(values) >= 2 and all(isinstance(value, str) for value in values):
                return values[0], values[1]
    return None


def version_line(printed: str) -> str:
    """The line of `apptainer --version` that has a number; otherwise the last one."""
    lines = [" ".join(line.split()) for line in printed.split("\n") if line.strip()]
    numbered = [line for line in lines if re.search(r"[0-9]\.[0-9]", line)]
    return (numbered or lines or [""])[-1]


def pip_line(package: str) -> str:
    """The command that installs a version that this kdbatch supports."""
    try:
        ranges = [line.partition(";")[0].strip() for line in requires("kdbatch") or ()]
    except PackageNotFoundError:
        ranges = []
    name = re.compile(rf"{re.escape(package)}\b")
    wanted = next((line for line in ranges if name.match(line)), "kdbatch[worker]")
    return f"pip install {shell_word(wanted)}"
