"""A Run and the files of its folder."""

import dataclasses
import hashlib
import json
import marshal
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Annotated, Any

from kdbatch.base.atomic_write import load_json, write_json
from kdbatch.base.command_lines import resume_command
from kdbatch.base.digests.hashed_fields import hashed_fields, new_field
from kdbatch.base.errors import UnreadableError, UserError
from kdbatch.base.folders.presence import is_present
from kdbatch.base.parse import SHARED, key_of, parse
from kdbatch.base.reading.field_facts import Limits, check_limits
from kdbatch.base.reading.file_names import check_plain_name
from kdbatch.base.reading.shown_values import shown
from kdbatch.base.temporary.private_folder import folder_of_this_user, open_private_folder
from kdbatch.vocab.extensions.sources import Code, code_here
from kdbatch.vocab.jobs.resources import Resources
from kdbatch.vocab.recipes.recipe import RECIPE_VERSION, Recipe
from kdbatch.vocab.status import RepairAdvice

RUN_ID = re.compile("r[0-9a-f]{10}")
_ANY_RECIPE: Any = Annotated[Recipe, SHARED]
_ONE_VARIABLE = re.compile(r"\$\w+|\$\{\w+\}")


@dataclass(frozen=True, kw_only=True)
class Run:
    """One Recipe, one seed, the ids of its parents, and the code of other distributions that it or
    its parents use.
    """

    recipe: Annotated[Recipe, SHARED]
    # a seed of a profile, and the offset of a teacher such as T1@2
    seed: Annotated[int, Limits("seed", least=0, most=2**32 + 999_998)]
    parents: tuple[str, ...]
    code: tuple[Code, ...] = new_field(())

    def __post_init__(self) -> None:
        check_limits(self)
        for i, parent in enumerate(self.parents):
            check_plain_name(parent, where=f"parents[{i}]")

    @cached_property
    def id(self) -> str:
        """The letter r and 10 hex digits of a hash over all fields. The letter keeps an id such as
        `12e4567` from being read as a number.
        """
        recipe = _text_of(self.recipe)
        return _id_of(recipe, self.parents, self.seed, self.code, version=RECIPE_VERSION)

    @property
    def teachers(self) -> tuple[str, ...]:
        """The parents that a student learns from: those before `pretrained` and `equal_to`."""
        num_others = len(self.pretrained + self.equal_to)
        return self.parents[: len(self.parents) - num_others]

    @property
    def pretrained(self) -> tuple[str, ...]:
        """The parent, if any, whose backbone a student starts from; it stands after teachers."""
        others = self.parents[: len(self.parents) - len(self.equal_to)]
        return others[-1:] if getattr(self.recipe, "start", "random") != "random" else ()

    @property
    def equal_to(self) -> tuple[str, ...]:
        """The parent, if any, whose accuracy chooses the epoch of a student; it stands last."""
        return self.parents[-1:] if getattr(self.recipe, "kept_epoch", "best") != "best" else ()


def _ids_in_file(run: Mapping[str, Any], versions: Iterable[int]) -> set[str]:
    """The ids that a run as a file has it may have, at these versions of the recipes."""
    texts = _recipe_texts(key_of(run["recipe"]))
    parents, seed, code = run["parents"], run["seed"], run.get("code")
    return {
        _id_of(recipe, parents, seed, code or (), version=version)
        for version in versions
        for recipe in texts
    }


@lru_cache(maxsize=4096)
def _recipe_texts(key: bytes) -> set[str]:
    """The JSON of a recipe: as it is read today, and as the file has it, since an older version
    hashed the fields that there were then. Cached: thousands of runs share a recipe.
    """
    raw = marshal.loads(key)
    recipe: Any = parse(_ANY_RECIPE, raw, where="recipe")
    return {json.dumps(found, sort_keys=True, default=hashed_fields) for found in (recipe, raw)}


_TEXTS: dict[int, tuple[Any, str]] = {}
_MAX_TEXTS = 4096


def _text_of(recipe: Any) -> str:
    """The JSON of a recipe. Cached by its identity: a hash of it would take as long, and equal
    recipes may differ in their text, as 1 and 1.0 do.
    """
    known = _TEXTS.get(id(recipe))
    if known and known[0] is recipe:
        return known[1]
    if len(_TEXTS) >= _MAX_TEXTS:
        _TEXTS.clear()
    text = json.dumps(recipe, sort_keys=True, default=hashed_fields)
    _TEXTS[id(recipe)] = (recipe, text)  # which keeps the recipe, and so its identity
    return text


def _id_of(
    recipe: str, parents: Sequence[str], seed: int, code: Sequence[Any], *, version: int
) -> str:
    """The id of a run whose recipe has this JSON: keys are sorted, and no code is no field."""
    fields = f'"parents": {json.dumps(parents)}, "recipe": {recipe}, "seed": {json.dumps(seed)}'
    if code:
        texts = json.dumps(code, sort_keys=True, default=hashed_fields)
        fields = f'"code": {texts}, {fields}'
    return _hash(f"[{version}, {{{fields}}}]")


def _hash(text: str) -> str:
    return "r" + hashlib.sha256(text.encode()).hexdigest()[:10]


def _packages_missing_here(raw: Any) -> str:
    """The packages of others that a run in a file uses and that are not installed here."""
    run = raw.get("run") if isinstance(raw, dict) else None
    planned = run.get("code", []) if isinstance(run, dict) else []
    missing = []
    with suppress(UserError):
        for code in parse(tuple[Code, ...], planned, where="code"):
            if code_here(code.distribution, code.package) is None:
                missing.append(f"{code.distribution} {code.version}")
    return " and ".join(missing)


OUTSIDE = "outside"
"""The kind, in done.json, of a run that another trainer made."""


def outside_run_id(experiment: str, role: str, case: Mapping[str, str], *, seed: int) -> str:
    """The id of a run that another trainer makes: a hash over its place in an experiment."""
    return _hash(json.dumps([OUTSIDE, experiment, role, dict(case), seed], sort_keys=True))


@dataclass(frozen=True, kw_only=True)
class Retries:
    """How many attempts at a run may end by each cause before the run has failed.

    A run that raised an error or ran out of memory is not retried.
    """

    timeout: Annotated[int, Limits("attempts", least=0, most=1_000_000)] = 20
    """Attempts that the time limit may end."""
    preemption: Annotated[int, Limits("attempts", least=0, most=1_000_000)] = 100
    """Attempts that jobs of higher priority may end."""
    node_failure: Annotated[int, Limits("attempts", least=0, most=1_000_000)] = 5
    """Attempts that a lost node may end."""
    crash: Annotated[int, Limits("attempts", least=0, most=1_000_000)] = 2
    """Attempts whose process may be killed, for example by a signal."""
    requeue: Annotated[int, Limits("attempts", least=0, most=1_000_000)] = 100
    """Attempts that an operator may end by a requeue."""

    def __post_init__(self) -> None:
        check_limits(self)

    @property
    def total(self) -> int:
        return self.timeout + self.preemption + self.node_failure + self.crash + self.requeue

    @property
    def startup(self) -> int:
        """How often a job is started again whose worker ended before it could count."""
        return self.crash + 1


@dataclass(frozen=True, kw_only=True)
class Cache:
    """The folder where a node may keep decoded frames, and its size limit; no path, no cache."""

    path: str = ""
    """Folder on the node itself, such as /dev/shm/kdbatch; `$NAME` is a variable of the node. Each
    user has one of his own there, with his number at the end of its name.
    """
    max_gb: Annotated[
        float,
        Limits(
            "GB", least=0.001, most=1_000_000, advice=", or leave the path out to have no cache"
        ),
    ] = 20.0
    """Largest size of the cache."""

    def __post_init__(self) -> None:
        check_limits(self)
        if self.path and self.path[0] not in "/$":
            raise UserError(
                f"path: {shown(self.path)} depends on the folder that kdbatch is called in. "
                "Name a folder on the node itself, such as /dev/shm/kdbatch or $TMPDIR/kdbatch."
            )

    def private_folder(self, expand: Callable[[str], str]) -> Path:
        """The folder that a process of this user keeps frames in on this node: `path` with the
        user's number at its end, as others may use the same node. A path that is one variable, such
        as $TMPDIR, is the folder around it. It is made where it is missing.

        `expand` replaces variables.

        Raises:
            UserError: this node has not set a variable, or the folder cannot be made or is not
                this user's alone.
        """
        path = expand(f"{self.path}/kdbatch" if _ONE_VARIABLE.fullmatch(self.path) else self.path)
        if "$" in path:
            raise UserError(f"cache.path is {self.path}, and this node has not set it")
        folder = folder_of_this_user(Path(path))
        try:
            with open_private_folder(folder):
                return folder
        except OSError as error:
            raise UserError(f"{folder}: {error.strerror}") from error

    def problem(self, expand: Callable[[str], str]) -> str:
        """Why a process of this user cannot keep frames on this node; empty where it can."""
        try:
            self.private_folder(expand)
        except UserError as error:
            return str(error)
        return ""


@dataclass(frozen=True, kw_only=True)
class Assignment:
    """`run.json`: a Run, its resources, and the folder of its shards.

    The folders of its parents are next to its own.
    """

    run: Run
    title: str
    shards_dir: str
    decoder: str
    resources: Annotated[Resources, SHARED]
    cache: Annotated[Cache, SHARED] = Cache()
    retries: Annotated[Retries, SHARED] = Retries()


@dataclass(frozen=True)
class RunFolder:
    """The files of `runs/<id>/`, by name."""

    path: Path

    @property
    def id(self) -> str:
        return self.path.name

    assignment = property(lambda self: self.path / "run.json")
    status = property(lambda self: self.path / "status.json")
    lock = property(lambda self: self.path / "lock")
    checkpoint = property(lambda self: self.path / "checkpoint.pt")
    model = property(lambda self: self.path / "model.safetensors")
    imported = property(lambda self: self.path / "imported")
    teacher_outputs = property(lambda self: self.path / "teacher_outputs.bin")
    rows = property(lambda self: self.path / "rows.parquet")
    curves = property(lambda self: self.path / "curves.parquet")
    predictions = property(lambda self: self.path / "predictions.parquet")
    cka = property(lambda self: self.path / "cka.parquet")
    done = property(lambda self: self.path / "done.json")
    log = property(lambda self: self.path / "log.txt")
    error = property(lambda self: self.path / "error.txt")

    def parent(self, run_id: str) -> "RunFolder":
        return RunFolder(self.path.parent / run_id)

    def has_assignment(self) -> bool:
        """Whether it has a `run.json`.

        Raises:
            UnreadableError: that cannot be known.
        """
        return is_present(self.assignment)

    def is_done(self) -> bool:
        """Whether the run is done.

        Raises:
            UnreadableError: that cannot be known.
        """
        return is_present(self.done)

    def is_known_done(self) -> bool:
        """The same, but False where it cannot be known: for what needs the results."""
        try:
            return self.is_done()
        except UnreadableError:
            return False

    def load(self, *, to_train: bool = False) -> Assignment:
        """The run's assignment, whose id must be the name of the folder.

        The id may be that of an older version of the recipes, unless the run is still to be
        trained.

        Raises:
            UserError: `run.json` is missing or damaged, describes another run, or
                (UnreadableError) cannot be read.
        """
        where = str(self.assignment)
        raw = load_json(self.assignment, advice=self._advice)
        try:
            assignment = parse(Assignment, raw, where=where)
        except UserError as error:
            if packages := _packages_missing_here(raw):
                raise UserError(
                    f"{where}: is a run with code of {packages}, which is not installed here. "
                    "Install it to read the run."
                ) from error
            raise
        if self.id in _ids_in_file(raw["run"], [RECIPE_VERSION]):
            return assignment
        if self.id not in _ids_in_file(raw["run"], range(1, RECIPE_VERSION)):
            raise UserError(
                f"{where}: describes the run {assignment.run.id}, not {self.id}: it was changed "
                f"after it was planned, or its folder was renamed. {self._advice}"
            )
        if to_train:
            raise UserError(
                f"{where}: was planned by an older kdbatch, whose recipes gave other numbers. "
                f"Plan it again, as another run: {resume_command()}"
            )
        return assignment

    @property
    def _advice(self) -> RepairAdvice:
        """The advice about a damaged run.json, which planning replaces unless the run is done."""
        return RepairAdvice(folder=self.path, delete=self.is_known_done)

    def save(self, assignment: Assignment) -> None:
        write_json(self.assignment, dataclasses.asdict(assignment))
