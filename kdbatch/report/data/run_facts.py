"""Reads the facts of a run's folder: its recipe, its state, what it cost and where it was made."""

from dataclasses import dataclass
from functools import cached_property

from kdbatch.base.errors import UnreadableError, UserError
from kdbatch.report.data.recipe_fields import recipe_fields
from kdbatch.report.labels import format_time
from kdbatch.vocab.done import Done, Provenance, load_done
from kdbatch.vocab.runs.folder import Assignment, RunFolder
from kdbatch.vocab.runs.run import Run
from kdbatch.vocab.status import RunState, Status, is_stale, load_status


@dataclass(frozen=True, kw_only=True)
class RunFacts:
    """The facts in a run's folder. An unknown number is None, an unknown text is empty."""

    run_id: str
    kind: str
    title: str
    seed: int | None
    parents: tuple[str, ...]
    state: RunState
    reason: str
    attempts: int | None
    device_hours: float | None
    finished_at: str
    provenance: Provenance
    done: Done | None = None  # of a run in that state
    num_teachers: int = 0  # of a student
    run: Run | None = None  # with its recipe
    planned_hours: float | None = None  # of its devices together, from its plan

    @cached_property
    def recipe_pairs(self) -> tuple[tuple[str, str], ...] | None:
        """The fields of the recipe by name, as text; None where no recipe can be read."""
        return tuple(recipe_fields(self.run).items()) if self.run else None


def load_run_facts(folder: RunFolder, warnings: list[str]) -> RunFacts:
    """Read a run's folder; a damaged or unreadable file adds a line to `warnings`."""
    damage: list[str] = []
    try:
        done = load_done(folder.done, warn=damage.append) if folder.is_done() else None
        is_damaged = bool(damage) and done is None
        # The record of a finished run has all that its status has.
        status = None if done and done.attempts and done.seconds else load_status(folder.status)
        assignment = _assignment(folder, damage)
        is_damaged = is_damaged or (assignment is None and folder.has_assignment())
        state = "done" if done else _run_state(folder, status, assignment)
        state = "damaged" if is_damaged else state
    except UnreadableError as error:
        warnings.append(f"{folder.id} is not in the report: {error}")
        return _unreadable_facts(folder, str(error))
    warnings += damage
    reason = status.reason if status and state != "done" else ""
    return RunFacts(
        run_id=folder.id,
        kind=(assignment.run.recipe.kind if assignment else done and done.kind) or "unknown",
        title=(assignment.title if assignment else done and done.title) or folder.id,
        seed=assignment.run.seed if assignment else None,
        parents=assignment.run.parents if assignment else (),
        state=state,
        reason=damage[0] if is_damaged else reason,
        attempts=(done.attempts if done else None) or (status.attempt if status else None),
        device_hours=_device_hours(state, done, status),
        finished_at=format_time(done.finished_at if done else None),
        provenance=done.provenance if done else Provenance(),
        done=done if state == "done" else None,
        num_teachers=_num_teachers(assignment),
        run=assignment.run if assignment else None,
    )


def _num_teachers(assignment: Assignment | None) -> int:
    if assignment is None or assignment.run.recipe.kind != "distill":
        return 0
    return len(assignment.run.teachers)


def _unreadable_facts(folder: RunFolder, reason: str) -> RunFacts:
    return RunFacts(
        run_id=folder.id,
        kind="unknown",
        title=folder.id,
        seed=None,
        parents=(),
        state="unreadable",
        reason=reason,
        attempts=None,
        device_hours=None,
        finished_at="",
        provenance=Provenance(),
    )


def _device_hours(state: RunState, done: Done | None, status: Status | None) -> float | None:
    """Return the device-hours of done.json; without them the hours that the run has taken."""
    if done and done.device_hours is not None:
        return done.device_hours
    seconds = done.seconds if done else None
    if state != "done" and status and status.seconds:
        seconds = status.seconds
    return None if seconds is None else seconds / 3600


def _run_state(folder: RunFolder, status: Status | None, assignment: Assignment | None) -> RunState:
    """Return the state of a run. Only done.json makes it `done`.

    A status of `done` without done.json means that the end of the run was lost: it is `stopped`.
    """
    if folder.is_done():
        return "done"
    if status is None:
        return "planned" if assignment else "missing"
    if is_stale(folder.status, status):
        return "stale"
    return "stopped" if status.state == "done" else status.state


def _assignment(folder: RunFolder, warnings: list[str]) -> Assignment | None:
    """Return the run's assignment; None where it is missing, or damaged, which is a warning."""
    try:
        return folder.load()
    except UnreadableError:
        raise
    except UserError as error:
        if folder.has_assignment():
            warnings.append(str(error))
        return None
