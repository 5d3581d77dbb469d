"""Where a value stands in a file, as errors begin with it."""

import re
from collections.abc import Collection

FILE_ENDINGS = (".yaml", ".yml", ".toml", ".json", ".tar")


def below(where: str, step: str) -> str:
    """The place of a field: `x.yaml: teachers.T1` below the file, then joined by dots."""
    if step.startswith("["):
        return f"{where}{step}"
    return f"{where}: {step}" if where.endswith(FILE_ENDINGS) else f"{where}.{step}"


def placed(error: str, fields: Collection[str], where: str) -> str:
    """An error of a class's own checks, with the place of the field that it begins with."""
    name, colon, rest = error.partition(": ")
    if colon and re.split(r"[.\[]", name)[0] in fields:
        return f"{below(where, name)}: {rest}"
    return f"{where}: {error}"
