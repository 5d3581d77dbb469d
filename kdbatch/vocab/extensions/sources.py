"""The code of other distributions that runs use: ids cover it, and workers compare it."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution
from importlib.util import find_spec
from pathlib import Path

from kdbatch.base.command_lines import resume_command
from kdbatch.base.errors import UserError


@dataclass(frozen=True, kw_only=True, order=True)
class Code:
    """A top-level package of an installed distribution, with the sha256 of its sources."""

    distribution: str
    version: str
    package: str
    sha256: str

    def __str__(self) -> str:
        return f"{self.distribution} {self.version} (sha256 {self.sha256[:10]})"


@cache
def code_here(name: str, package: str) -> Code | None:
    """The code of a distribution as it is installed here; None without it. Nothing is imported."""
    try:
        version = distribution(name).version
        spec = find_spec(package)
    except (PackageNotFoundError, ValueError):
        return None
    if spec is None:
        return None
    folders = [Path(folder) for folder in spec.submodule_search_locations or ()]
    files = {path.relative_to(f).as_posix(): path for f in folders for path in f.rglob("*.py")}
    if not folders and spec.origin:
        files = {Path(spec.origin).name: Path(spec.origin)}
    whole = hashlib.sha256()
    for name_in_package, path in sorted(files.items()):
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        whole.update(f"{name_in_package}\0{content}\n".encode())
    return Code(distribution=name, version=version, package=package, sha256=whole.hexdigest())


def check_code(planned: Iterable[Code]) -> None:
    """Check that the code that a run was planned with is what is installed here.

    Raises:
        UserError: it is missing or differs.
    """
    for code in planned:
        found = code_here(code.distribution, code.package)
        if found != code:
            raise UserError(
                f"the run was planned with {code}, and {found or 'nothing of this name'} is "
                "installed here. Install that code here, or in the image: make image, and "
                f"container/README.md; or plan with the code of now: {resume_command()}"
            )
