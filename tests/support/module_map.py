"""The map of the modules in docs/ARCHITECTURE.md: one line a file, from its docstring's first line.

`python tests/support/module_map.py` (or `make map`) writes it; tests/test_map.py compares it.
"""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "docs" / "ARCHITECTURE.md"
BEGIN, END = "<!-- map: written by `make map` -->", "<!-- end of map -->"


def module_map() -> str:
    """The tree as a text block; a package's line is that of its `__init__.py`."""
    lines = ["```"]
    package = ROOT / "kdbatch"
    for path in sorted(package.rglob("*.py"), key=_folders_first):
        relative = path.relative_to(package)
        depth = len(relative.parts) - 1
        if path.name == "__init__.py":
            name, depth = f"{path.parent.name}/", depth - 1
        else:
            name = path.stem
        label = "    " * (depth + 1) + name
        lines.append(f"{label:32} {_first_line(path)}".rstrip())
    return "\n".join([*lines, "```"])


def _folders_first(path: Path) -> tuple[tuple[int, str], ...]:
    """Order of the map: a package's own line, then its modules, then its packages."""
    *folders, name = path.relative_to(ROOT / "kdbatch").parts
    last = (0, "") if name == "__init__.py" else (1, name)
    return (*((2, folder) for folder in folders), last)


def _first_line(path: Path) -> str:
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return docstring.split("\n")[0]


def document_with_map() -> str:
    """The document with its map replaced by the present one."""
    text = DOCUMENT.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}\n{module_map()}\n{END}{after}"


if __name__ == "__main__":
    DOCUMENT.write_text(document_with_map(), encoding="utf-8")
