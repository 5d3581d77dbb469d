"""Answers of squeue and sacct that all commands share which only look.

Each is called once a minute at most, whatever the number of terminals. The answers are next to the
journal, in files of this user.
"""

import dataclasses
import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from kdbatch.base.atomic_write import load_json, write_json
from kdbatch.base.errors import UserError
from kdbatch.base.file_clock import seconds_since_change
from kdbatch.base.folders.presence import Identity, identity_of
from kdbatch.base.locks import hold_lock
from kdbatch.base.parse import parse
from kdbatch.launch.machine import queue_kind
from kdbatch.launch.run_folders import submissions_dir
from kdbatch.launch.slurm.exit_reason import accounting_states
from kdbatch.launch.slurm.squeue.recovery import study_queue
from kdbatch.launch.slurm.submissions import load_sbatches

SHARED_SECONDS = 60.0  # between two calls of squeue, or of sacct: SLURM serves everybody


@dataclass(frozen=True, kw_only=True)
class QueueAnswer:
    """The jobs that SLURM has: the value of a job's id is why SLURM holds it, empty where it does
    not. `numbers` are the arrays that the answer knows of, None for all: one that was submitted
    later has not left the queue. `problem` is why there was no answer.
    """

    holds: dict[str, str] = field(default_factory=dict)
    numbers: tuple[str, ...] | None = None
    problem: str = ""

    def has_left(self, job_id: str) -> bool:
        """Whether SLURM has a job of the study no more."""
        is_known = self.numbers is None or job_id.partition("_")[0] in self._known
        return is_known and job_id not in self.holds

    @cached_property
    def _known(self) -> frozenset[str]:
        return frozenset(self.numbers or ())


@dataclass(frozen=True, kw_only=True)
class _States:
    """The accounting's last state of jobs that have left the queue; empty where it had none."""

    of_job: dict[str, str] = field(default_factory=dict)


class JobsCache:
    """The jobs that SLURM has, for a command that looks, once or again and again.

    None where there is no SLURM, or where it does not answer: then `warn` is called once, and the
    run folders have to do.
    """

    def __init__(self, runs_dir: Path, *, warn: Callable[[str], None]) -> None:
        self._journal_dir = submissions_dir(runs_dir)
        self._path = _queue_file(self._journal_dir)
        self._warn, self._answers = warn, True
        self._has_slurm = queue_kind() == "slurm"
        self._last, self._identity = QueueAnswer(), (0, 0)
        self._asked_at = -SHARED_SECONDS  # the last answer that could not be shared

    def live(self) -> QueueAnswer | None:
        """An answer that is at most a minute old."""
        if not self._has_slurm:
            return None
        answer = self._recent() or self._ask()
        if answer.problem and self._answers:
            self._warn(f"SLURM does not answer, so this is from the run folders ({answer.problem})")
        self._answers = not answer.problem
        return None if answer.problem else answer

    def _recent(self) -> QueueAnswer | None:
        if time.monotonic() - self._asked_at < SHARED_SECONDS:
            return self._last
        if (identity := _recent(self._path)) is None:
            return None
        if identity != self._identity:
            with suppress(UserError):
                answer = parse(QueueAnswer, load_json(self._path), where=str(self._path))
                self._last, self._identity = answer, identity
        return self._last if identity == self._identity else None

    def _ask(self) -> QueueAnswer:
        numbers = _numbers(self._journal_dir)
        if not numbers:
            return QueueAnswer()  # nothing to ask about
        try:
            with hold_lock(self._path.with_suffix(".lock")):
                if answer := self._recent():  # of somebody who had the lock meanwhile
                    return answer
                self._last = _query(self._journal_dir, numbers)
                write_json(self._path, dataclasses.asdict(self._last))
                self._identity = identity_of(self._path) or (0, 0)
        except (OSError, UserError):  # a full disk, a folder of somebody else, no locks
            self._last, self._asked_at = _query(self._journal_dir, numbers), time.monotonic()
        return self._last


def _query(journal_dir: Path, numbers: tuple[str, ...]) -> QueueAnswer:
    try:
        jobs = study_queue(journal_dir, once=True)
    except UserError as error:
        return QueueAnswer(problem=" ".join(str(error).split()))
    return QueueAnswer(holds={job.id: job.hold for job in jobs}, numbers=numbers)


def _numbers(journal_dir: Path) -> tuple[str, ...]:
    """The jobs in the journal. It is read before squeue is called."""
    return tuple(each.number for each in load_sbatches(journal_dir).values() if each.number)


def forget_queue(journal_dir: Path) -> None:
    """Let the next look ask afresh, after jobs were submitted or cancelled."""
    path = _queue_file(journal_dir)
    with suppress(OSError, UserError), hold_lock(path.with_suffix(".lock")):
        path.unlink(missing_ok=True)


def shared_states(runs_dir: Path, job_ids: Sequence[str]) -> dict[str, str]:
    """The accounting's state of each job that has left the queue; sacct is called for those that
    no command knows, at most once a minute.
    """
    if not job_ids:
        return {}
    path = submissions_dir(runs_dir) / f"sacct-{os.getuid()}.json"
    try:
        with hold_lock(path.with_suffix(".lock")):
            known = _load_states(path)
            unknown = [job_id for job_id in job_ids if not known.get(job_id)]
            if unknown and _recent(path) is None:
                known = {i: known.get(i, "") for i in job_ids} | accounting_states(unknown)
                write_json(path, dataclasses.asdict(_States(of_job=known)))
    except (OSError, UserError):  # as in JobsCache
        known = accounting_states(job_ids)
    return {job_id: known[job_id] for job_id in job_ids if known.get(job_id)}


def _load_states(path: Path) -> dict[str, str]:
    try:
        return parse(_States, load_json(path), where=str(path)).of_job
    except UserError:
        return {}


def _recent(path: Path) -> Identity | None:
    """The identity of a file that is at most so old as an answer may be; by the clock of its file
    system, as login nodes have several.
    """
    identity = identity_of(path)
    if identity is None or seconds_since_change(path, folder=path.parent) > SHARED_SECONDS:
        return None
    return identity


def _queue_file(journal_dir: Path) -> Path:
    return journal_dir / f"squeue-{os.getuid()}.json"
