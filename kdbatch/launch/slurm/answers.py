"""Reads what SLURM's commands print, between lines that a site, a shell or a wrapper adds."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from kdbatch.base.errors import UserError
from kdbatch.base.processes import is_own_user

# 41, 41_3, 123+1 of a heterogeneous job, and 41_[0-3,7%2] where the elements are not listed.
_JOB_ID = re.compile(r"([0-9]{1,10})(_[0-9]{1,9}|_\[([0-9,%-]+)\]|\+[0-9]{1,4})?")
# Beginnings of lines that are jobs' all the same: elements cut short, `41_[0,2,...]`, or a cluster.
_UNKNOWN_ID = re.compile(r"[0-9]+[^\s|]*")
_SUBMITTED = re.compile(r"Submitted batch job ([0-9]{1,10})( on cluster \S+)?")
_TROUBLE = re.compile(r"^\s*(slurm_\w+|squeue)\b.*\b(error|fatal)\b", re.I | re.M)
_HOLD = re.compile(r"Held|\bheld\b|JobHoldMaxRequeue|DependencyNeverSatisfied|ReservationDeleted")
_RECORD = re.compile(r"\b(JobId|ArrayJobId|ArrayTaskId|JobName|JobState|Reason)=(\S+)")
_UID = re.compile(r"uid=([0-9]{1,10})")
_MAX_ELEMENTS = 4_000_001  # of a job array, by SLURM's own limit

_LASTING_STATES = """COMPLETING CONFIGURING EXPEDITING LAUNCH_FAILED PENDING POWER_UP_NODE
    RECONFIG_FAIL REQUEUED REQUEUE_FED REQUEUE_HOLD RESIZING RESV_DEL_HOLD REVOKED RUNNING SIGNALING
    SPECIAL_EXIT STAGE_OUT STOPPED SUSPENDED UPDATE_DB"""
# A job that is REVOKED here runs on another cluster of the federation.
_ENDED_STATES = """BOOT_FAIL CANCELLED COMPLETED DEADLINE FAILED NODE_FAIL OUT_OF_MEMORY PREEMPTED
    TIMEOUT"""
JOB_STATES = frozenset(f"{_LASTING_STATES} {_ENDED_STATES}".split())


@dataclass(frozen=True, kw_only=True)
class QueuedJob:
    """A job that SLURM has not ended. `id` is 41, or 41_3 for an element of an array; `reason` is
    why it is not running. `uid` is its user, None for the caller.
    """

    id: str
    name: str = ""
    state: str = ""
    reason: str = ""
    uid: int | None = None

    @property
    def is_ours(self) -> bool:
        """Whether it is a job of this user."""
        return is_own_user(self.uid)

    @property
    def number(self) -> str:
        """The id of the whole array."""
        return self.id.partition("_")[0]

    @property
    def is_held(self) -> bool:
        return any(word in self.reason for word in ("JobHeldUser", "JobHeldAdmin"))

    @property
    def hold(self) -> str:
        """The reason for which it never starts by itself; empty if it may."""
        words = self.reason.replace("_", " ")
        return self.reason if _HOLD.search(words) or self.state == "REQUEUE_HOLD" else ""

    def has_name(self, name: str) -> bool:
        """Whether it is the job of this name: by itself, or between columns that were not asked
        for.
        """
        return name in self.name.split("|")

    def may_have_name(self, name: str) -> bool:
        """Whether no other name is known of it: squeue may print less of a name, or none."""
        return name.startswith(self.name) or self.has_name(name)


def read_queue(printed: str) -> tuple[QueuedJob, ...]:
    """The jobs in squeue's lines ID|NAME|STATE|REASON, some with |uid=UID. Other lines are left
    out, and jobs that have ended.

    Raises:
        UserError: there are lines, and none is a job, or one is an error of squeue, or a job whose
            id has an unknown form: without it there would seem to be no such job.
    """
    lines = [line for line in printed.split("\n") if line.strip()]
    jobs = [job for line in lines for job in _jobs_of(line)]
    unread = next((line for line in lines if not _jobs_of(line) and _is_job(line)), "")
    if unread or (lines and not jobs) or _TROUBLE.search(printed):
        what = "a job that cannot be told apart" if unread else "no list of jobs"
        raise UserError(
            f"squeue: its answer has {what}: {shown_line(unread or printed)}. "
            "Without it a run could be submitted twice. Try it: squeue --me"
        )
    return tuple(job for job in jobs if job.state not in _ENDED_STATES.split())


def read_job_records(printed: str) -> tuple[QueuedJob, ...] | None:
    """The jobs in the lines `JobId=41 ArrayTaskId=0-3 ...` of `scontrol show job` that have not
    ended; None where a line is none, as then it does not tell which there are.
    """
    jobs: list[QueuedJob] = []
    for line in filter(str.strip, printed.split("\n")):
        facts = dict(_RECORD.findall(line))
        number = facts.get("ArrayJobId") or facts.get("JobId", "")
        elements = facts.get("ArrayTaskId")
        ids = _elements(number, elements) if elements else [number]
        if not number.isdigit() or not ids or facts.get("JobState") not in JOB_STATES:
            return None
        state, reason = facts["JobState"], facts.get("Reason", "")
        if state not in _ENDED_STATES.split():
            name = facts.get("JobName", "")
            jobs += [QueuedJob(id=each, name=name, state=state, reason=reason) for each in ids]
    return tuple(jobs) if printed.strip() else None


def submitted_number(printed: str) -> str:
    """The number in sbatch's line "Submitted batch job 41"; empty without that line, or where
    several differ.
    """
    matches = (_SUBMITTED.fullmatch(line.strip()) for line in printed.split("\n"))
    numbers = {match[1] for match in matches if match}
    return numbers.pop() if len(numbers) == 1 else ""


def number_of_name(printed: str, name: str) -> str:
    """The number of the job of this name in sacct's lines ID|NAME; empty if no line has it."""
    rows = [line.strip().split("|") for line in printed.split("\n")]
    ids = (_JOB_ID.fullmatch(row[0].strip()) for row in rows if name in row[1:])
    return next((job_id[1] for job_id in ids if job_id), "")


def read_states(printed: str) -> dict[str, str]:
    """The state of each job in sacct's lines ID|STATE, in one word; lines without both are left
    out.
    """
    states: dict[str, str] = {}
    for line in printed.split("\n"):
        job_id, *fields = line.strip().split("|")
        words = [field.split()[0] for field in fields if field.strip()]
        known = [word for word in words if word.rstrip("+") in JOB_STATES]
        if known and _JOB_ID.fullmatch(job_id.strip()):
            states[job_id.strip()] = known[0].rstrip("+")
    return states


def shown_line(printed: str) -> str:
    """The first line of an output as a message shows it, cut to 80 characters."""
    line = next((" ".join(line.split()) for line in printed.split("\n") if line.strip()), "")
    shortened = line if len(line) <= 80 else f"{line[:77]}..."
    return repr(shortened) if line else "nothing"


def whole_number(text: str) -> int | None:
    """The number that a setting of SLURM begins with, such as 30 in "30 sec"; None without one."""
    match = re.match(r"\s*([0-9]{1,9})\b", text)
    return int(match[1]) if match else None


def _jobs_of(line: str) -> Iterable[QueuedJob]:
    """The job of a line of squeue, or the jobs of one that stands for several elements."""
    job_id, *fields = line.strip().split("|")
    match = _JOB_ID.fullmatch(job_id.strip())
    if not match:
        return ()
    ids = _elements(match[1], match[3]) if match[3] else (match[0],)
    user = _UID.fullmatch(fields[-1].strip()) if fields else None
    name, state, reason = _name_state_reason(fields[:-1] if user else fields)
    uid = int(user[1]) if user else None
    return [QueuedJob(id=each, name=name, state=state, reason=reason, uid=uid) for each in ids]


def _is_job(line: str) -> bool:
    """Whether a line that names no job in a known form has a job's state and begins like a job."""
    first, *fields = line.strip().split("|")
    is_state = any(field.strip() in JOB_STATES for field in fields[1:])
    return is_state and _UNKNOWN_ID.fullmatch(first.strip()) is not None


def _name_state_reason(fields: list[str]) -> tuple[str, str, str]:
    """A name may have the separator in it, and columns may be missing, or be there in addition: the
    last word that is a state shows where the name ends.
    """
    places = [i for i, field in enumerate(fields) if i and field.strip() in JOB_STATES]
    place = places[-1] if places else max(1, len(fields) - 2)
    state = fields[place].strip() if place < len(fields) else ""
    return "|".join(fields[:place]).strip(), state, "|".join(fields[place + 1 :]).strip(" ()")


def _elements(number: str, ranges: str) -> list[str]:
    """The ids of the elements that `0-3,7%2` stands for; none where it is not such a list."""
    ids: list[str] = []
    for part in ranges.partition("%")[0].split(","):
        first, _, last = part.partition("-")
        if not first.isdigit() or not (last or first).isdigit():
            return []
        bounds = range(int(first), int(last or first) + 1)
        if len(ids) + len(bounds) > _MAX_ELEMENTS:
            return []
        ids += [f"{number}_{i}" for i in bounds]
    return ids
