"""The arrows between rooms, and the homes of heavy packages. A file that turns an arrow round is named here."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "kdbatch"
MAY_IMPORT = {
    "vocab": {"vocab"},
    "shard": {"shard", "vocab"},
    "plan": {"plan", "vocab"},
    "launch": {"launch", "plan", "vocab"},
    "run": {"run", "result", "vocab"},
    "result": {"result", "vocab"},
    "report": {"report", "result", "vocab"},
}
HOMES = {
    "torch": {"run"},
    "torchvision": {"run"},
    "decord": {"run"},
    "safetensors": {"run"},
    "av": {"shard", "run"},
    "cv2": {"run"},
    "webdataset": {"shard", "run"},
    "yaml": {"plan"},
    "submitit": {"launch"},
    "polars": {"result", "report"},
    "matplotlib": {"report"},
    "fontTools": {"report"},
    "fire": {"command.py"},
    "rich": {"terminal.py"},
}
FILES = sorted(PACKAGE.rglob("*.py"))


def _imports(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names.add(node.module or "")
    return names


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_data_goes_one_way(path: Path) -> None:
    room = path.relative_to(PACKAGE).parts[0]
    for name in _imports(path):
        top, *rest = name.split(".")
        if top == "kdbatch" and room in MAY_IMPORT and rest and rest[0] != "__version__":
            assert rest[0] in MAY_IMPORT[room], f"{room} must not import {name}"
        if top in HOMES:
            assert room in HOMES[top], f"{top} has no home in {room}"


def test_every_room_is_here() -> None:
    assert {p.name for p in PACKAGE.iterdir() if p.is_dir() and p.name != "__pycache__"} == set(MAY_IMPORT)
