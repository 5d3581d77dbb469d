"""The files of a run's folder, and its run.json."""

from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

from kdbatch.base.atomic_write import load_json, write_json
from kdbatch.base.command_lines import resume_command
from kdbatch.base.errors import UnreadableError, UserError
from kdbatch.base.folders.presence import is_present
from kdbatch.base.parse import parse
from kdbatch.base.reading.field_types import SHARED
from kdbatch.vocab.attempts.retries import Retries
from kdbatch.vocab.extensions.sources import Code, code_here
from kdbatch.vocab.jobs.resources import Resources
from kdbatch.vocab.runs.cache import Cache
from kdbatch.vocab.runs.run import Run, ids_in_file
from kdbatch.vocab.status import RepairAdvice


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
    cache: Annotated[Cache, SHARED] = field(default_factory=Cache)
    retries: Annotated[Retries, SHARED] = field(default_factory=Retries)


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
        if self.id in ids_in_file(raw["run"]):
            return assignment
        if self.id not in ids_in_file(raw["run"], older=True):
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
        write_json(self.assignment, asdict(assignment))


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
