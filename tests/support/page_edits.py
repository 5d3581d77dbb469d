"""Applies the examples of docs/ARCHITECTURE.md, "Adding a thing", to a copy of the project."""

import ast
import re
from pathlib import Path

BLOCK = re.compile(r"^```\w+ (new )?(\S+\.\w+)(?: (\w+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def apply_page(page: str, root: Path) -> list[str]:
    """Apply every block of `page` that names a file to the project in `root`; returns the names."""
    applied = []
    for is_new, name, table, text in BLOCK.findall(page):
        path = root / name
        if is_new:
            assert not path.exists(), f"{name} is there already"
            path.write_text(text)
        else:
            path.write_text(_with_entry(path.read_text(), table, text))
        applied.append(name)
    return applied


def _with_entry(source: str, name: str, text: str) -> str:
    """`source` with the imports of `text` at its top, its definitions before `name`, and its
    entries (or methods) at the end of the table (or class) that is called so.
    """
    lines = source.split("\n")
    node = _find(ast.parse(source), name)
    imports = [line for line in text.split("\n") if line.startswith(("from ", "import "))]
    rest = "\n".join(line for line in text.split("\n") if line not in imports).strip("\n")
    if isinstance(node, ast.ClassDef):
        definitions, entries = "", rest
    else:
        definitions, _, entries = rest.rpartition("\n\n\n")
    assert node.end_lineno is not None
    at = node.end_lineno if isinstance(node, ast.ClassDef) else node.end_lineno - 1
    indented = ["    " + line if line else "" for line in entries.split("\n")]
    lines[at:at] = ["", *indented] if isinstance(node, ast.ClassDef) else indented
    if definitions:
        lines[node.lineno - 1 : node.lineno - 1] = [*definitions.split("\n"), "", ""]
    if imports:
        first = next(i for i, line in enumerate(lines) if line.startswith(("from ", "import ")))
        lines[first:first] = imports
    return "\n".join(lines)


def _find(tree: ast.Module, name: str) -> ast.ClassDef | ast.Assign | ast.AnnAssign:
    """The class or the module-level table called `name`, which is closed on a line of its own."""
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and node.name == name:
            return node
        targets = node.targets if isinstance(node, ast.Assign) else []
        if isinstance(node, ast.AnnAssign):
            targets = [node.target]
        if name in [target.id for target in targets if isinstance(target, ast.Name)]:
            assert isinstance(node, ast.Assign | ast.AnnAssign)
            return node
    raise AssertionError(f"no {name}")
