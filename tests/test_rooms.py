"""The arrows between rooms and inside them, and the homes of heavy packages. A file that turns an
arrow round is named here.
"""

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "kdbatch"
MAX_FILES = 15  # of a folder
MAX_LINES = 300  # of a file
MAX_BODY = 40  # lines of a function, without its signature and docstring

# A room may import itself and these.
ROOMS = {
    "base": set(),
    "vocab": {"base"},
    "shard": {"base", "vocab"},
    "plan": {"base", "vocab"},
    "launch": {"base", "vocab", "plan"},
    "result": {"base", "vocab"},
    "run": {"base", "vocab", "result"},
    "report": {"base", "vocab", "result"},
    "sync": {"base", "vocab", "result"},
    "bench": {"base", "vocab", "shard", "run"},
    "cli": {"base", "vocab", "shard", "plan", "launch", "result", "run", "report", "sync", "bench"},
}

# A package inside a room may import itself and these of its room: packages, and modules that lie
# beside them.
PACKAGES = {
    "vocab/attempts": {"status"},
    "vocab/leaks": {"datasets", "shards"},
    "vocab/recipes": {"backbones", "distillation", "extensions", "shards", "tasks", "views"},
    "vocab/plans": {"jobs", "metrics", "runs", "shard_request", "views"},
    "vocab/runs": {"attempts", "extensions", "jobs", "recipes", "status"},
    "vocab/shards": {"datasets", "shard_request"},
    "vocab/sources": {"datasets", "views"},
    "vocab/tasks": {"extensions", "views"},
    "shard/datasets": {"sources"},
    "shard/footage": {"stored"},
    "shard/overlap": {"pool", "source_video", "stored", "transcode"},
    "shard/toy": {"pool"},
    "plan/costs": {"subsets"},
    "plan/outside": {"specs", "validate"},
    "cli/groups": {
        "bench",
        "command",
        "launch",
        "live",
        "planning",
        "results",
        "run_here",
        "shard",
        "shards",
        "status",
        "study",
        "submit",
        "sync",
        "terminal",
    },
    "cli/live": {"terminal"},
    "cli/planning": {"arguments", "live", "study", "terminal"},
    "cli/shards": {"live", "study", "terminal"},
    "launch/container": {"machine", "run_folders"},
    "launch/slurm": {"container", "machine", "run_folders"},
    "launch/local": {"container", "live_queues", "machine", "run_folders", "states"},
    "launch/states": {"slurm"},
    "run/data": {"rng"},
    "run/models": set(),
    "run/meters": set(),
    "run/distributed": set(),
    "run/compilation": {"context", "data", "models"},
    "run/attempt": {"distributed", "heartbeat"},
    "run/train": {
        "checkpoint",
        "compilation",
        "context",
        "data",
        "distributed",
        "heartbeat",
        "meters",
        "models",
        "rng",
        "run_log",
    },
    "run/tasks": {"data", "distributed", "models", "rng", "train"},
    "run/evaluation": {
        "checkpoint",
        "compilation",
        "context",
        "data",
        "models",
        "rng",
        "run_log",
        "weights",
    },
    "run/export": {"checkpoint", "data", "models", "weights"},
    "run/extensions": {"distributed", "models", "tasks", "train"},
    "run/imports": {"checkpoint", "context", "data", "evaluation", "models", "train"},
    "run/cka": {"context", "data", "distributed", "models", "rng", "run_log", "weights"},
    "report/data": {"labels"},
    "report/stats": {"data", "labels"},
    "report/tables": {"data", "escape", "labels"},
    "report/changes": {"data", "labels", "tables"},
    "report/figures": {"data", "escape", "labels", "stats", "tables"},
    "report/html": {"changes", "data", "escape", "figures", "labels", "stats", "tables"},
    "report/paper": {"escape", "html", "labels", "stats", "tables"},
    "base/digests": {"reading"},
    "base/folders": {"errors"},
    "base/output": set(),
    "base/reading": {"errors"},
    "base/temporary": set(),
    "plan/video_checks": {"subsets"},
    "plan/leaks": set(),
    "plan/profiles": {"shipped_jobs", "specs", "yaml_loader"},
    "plan/runs": {"outside", "profiles", "specs", "subsets", "video_checks"},
    "launch/checks": {"container", "logs", "machine", "run_folders", "slurm", "stored_tars"},
    "vocab/jobs": set(),
    "vocab/distillation": {"extensions"},
    "vocab/extensions": set(),
    "vocab/installed": {"backbones", "distillation", "extensions", "tasks"},
    "plan/yaml_errors": set(),
    "cli/arguments": set(),
    "bench/cka": set(),
    "bench/data": set(),
    "bench/step": set(),
}

# Heavy packages, and the rooms or packages that may import them.
HOMES = {
    "torch": {"run", "bench"},
    "torchvision": {"run", "bench"},
    "decord": {"run", "bench"},
    "safetensors": {"run"},
    "av": {"shard", "run", "bench"},
    "cv2": {"bench"},
    "webdataset": {"shard", "run"},
    "yaml": {"plan"},
    "submitit": {"launch/slurm", "launch/checks/kinds.py", "launch/checks/node_check.py"},
    "polars": {"result", "report"},
    "tensorboard": {"sync/to_tensorboard.py"},
    "wandb": {"sync/to_wandb.py"},
    "mlflow": {"sync/to_mlflow.py"},
    "matplotlib": {"report/figures"},
    "fontTools": {"report/figures"},
    "PIL": {"report/figures"},
    "fire": {"cli/command.py"},
    "rich": {"cli/live"},
}
FILES = sorted(PACKAGE.rglob("*.py"))
FOLDERS = sorted({path.parent for path in FILES})


def _imports(path: Path) -> set[str]:
    """Every module that a file imports, also inside functions."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names.add(node.module or "")
            names |= {
                f"{node.module}.{alias.name}"
                for alias in node.names
                if _file_of(f"{node.module}.{alias.name}")
            }
    return names


def _file_of(module: str) -> Path | None:
    """The file of a module of ours; None for other packages' and for names inside a module."""
    path = PACKAGE.parent / module.replace(".", "/")
    return next(
        (found for found in (path.with_suffix(".py"), path / "__init__.py") if found in _FILES),
        None,
    )


_FILES = set(FILES)


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_data_goes_one_way(path: Path) -> None:
    where = path.relative_to(PACKAGE)
    room, package = where.parts[0], "/".join(where.parts[:2])
    for name in _imports(path):
        top, *rest = name.split(".")
        if top == "kdbatch" and room in ROOMS and rest and rest[0] != "__version__":
            assert rest[0] in {room, *ROOMS[room]}, f"{room} must not import {name}"
            if package in PACKAGES and rest[0] == room and len(rest) > 1:
                allowed = {where.parts[1], *PACKAGES[package]}
                assert rest[1] in allowed, f"{package} must not import {name}"
        if top in HOMES:
            homes = HOMES[top]
            assert room in homes or package in homes, f"{top} has no home in {where}"


def test_every_room_and_package_is_here() -> None:
    folders = [str(folder.relative_to(PACKAGE)) for folder in FOLDERS if folder != PACKAGE]
    assert {folder for folder in folders if "/" not in folder} == set(ROOMS)
    assert {folder for folder in folders if folder.count("/") == 1} == set(PACKAGES)


def test_no_module_imports_itself_in_a_circle() -> None:
    graph = {
        path: {file for name in _imports(path) if (file := _file_of(name)) and file != path}
        for path in FILES
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(str(path.relative_to(PACKAGE)) for path in error.args[1]))


def test_no_package_of_a_room_is_in_a_circle() -> None:
    """A package counts as one, so that each can be read without the ones above it."""

    def box(path: Path) -> str:
        return "/".join(path.relative_to(PACKAGE).with_suffix("").parts[:2])

    graph: dict[str, set[str]] = {}
    for path in FILES:
        if path.name == "__init__.py" and path.parent.parent == PACKAGE:
            continue
        found = {file for name in _imports(path) if (file := _file_of(name))}
        graph.setdefault(box(path), set()).update({box(file) for file in found} - {box(path)})
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_a_folder_has_few_modules(folder: Path) -> None:
    assert len(list(folder.glob("*.py"))) <= MAX_FILES


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_a_file_and_its_functions_are_short(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= MAX_LINES
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, functions):
            body = node.body[1:] if ast.get_docstring(node) else node.body
            first, last = body[0] if body else node.body[0], node.body[-1].end_lineno
            assert last and last - first.lineno < MAX_BODY, node.name


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_every_package_says_what_it_is_for(folder: Path) -> None:
    assert ast.get_docstring(ast.parse((folder / "__init__.py").read_text()))
