"""How a job ended whose worker cannot say it: in the words of its script (batch.py), or of the
accounting where there is one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kdbatch.launch.slurm.cluster_info import output_of
from kdbatch.launch.slurm.job_script import EXIT_NO_CONTAINER, MEMORY, SETUP
from kdbatch.launch.slurm.submissions import Submission
from kdbatch.vocab.retry_policy import describe_exit, was_killed
from kdbatch.vocab.runs import Retries
from kdbatch.vocab.status import EXIT_BUSY, EXIT_STOPPED, EXIT_UNMET

OUT_OF_MEMORY = "ran out of memory: raise memory_gb under [resources] in kdbatch.toml, then: kdbatch submit FILE --retry-failed"
ASKED_TO_END = (130, 143)  # by SIGINT and SIGTERM: who sent them decides what happens next
MAX_ASKED = 500  # job ids on one command line


@dataclass(frozen=True, kw_only=True)
class ExitReason:
    """The last line that a job's script wrote of its start: its exit code and what it added, and
    how many lines say the same.

    `logs` are those that may tell more: of the script, and of the worker that it started.
    """

    code: int
    word: str
    times: int
    logs: tuple[Path, ...]

    @property
    def says(self) -> str:
        if self.word == MEMORY:
            return OUT_OF_MEMORY
        often = f", {self.times} times" if self.times > 1 else ""
        if self.word == SETUP:
            return f"its job's setup failed ({describe_exit(self.code)}): look at setup under [site] in kdbatch.toml, and see {self.logs[0]}"
        if self.code == EXIT_NO_CONTAINER:
            return f"its container did not start{often}; see {self.logs[0]}"
        what = (
            "its processes did not meet"
            if self.code == EXIT_UNMET
            else f"its job ended by itself ({describe_exit(self.code)})"
        )
        written = [
            path for path in self.logs if path.exists() and path.stat().st_size
        ] or self.logs[:1]
        return f"{what}{often}; see {' and '.join(map(str, written))}"

    def is_final(self, retries: Retries) -> bool:
        """Whether the script left it at that (batch.py has the limits), though nobody had asked the
        job to end.
        """
        if self.word:
            return True
        if self.code in (EXIT_STOPPED, EXIT_BUSY, *ASKED_TO_END):
            return False
        return (
            self.times > retries.silent
            if self.code in (EXIT_NO_CONTAINER, EXIT_UNMET) or was_killed(self.code)
            else True
        )


def last_exit_reason(submission: Submission, *, log: Path | None = None) -> ExitReason | None:
    """None where the script wrote nothing: it ended well, is in the queue or running, or was ended
    with its node. `log` is its worker's.
    """
    stem = submission.folder / submission.job_id
    try:
        lines = stem.with_name(f"{stem.name}.ended").read_text(encoding="utf-8").split("\n")[:-1]
    except OSError:
        return None
    endings = [line.partition(" ")[2] for line in lines]
    code, _, word = endings[-1].partition(" ") if endings else ("", "", "")
    if not code.isdigit():
        return None
    logs = (stem.with_name(f"{stem.name}_0_log.err"), *([log] if log else []))
    return ExitReason(code=int(code), word=word, times=endings.count(endings[-1]), logs=logs)


def accounting_states(job_ids: Sequence[str]) -> dict[str, str]:
    """The last state of each job in one word, as far as the site keeps accounts."""
    if not job_ids:
        return {}
    asked = ",".join(job_ids[:MAX_ASKED])
    told = output_of(
        "sacct",
        "--allocations",
        "--noheader",
        "--parsable2",
        f"--jobs={asked}",
        "--format=JobID,State",
        seconds=60.0,
    )
    pairs = (line.split("|") for line in told.splitlines() if "|" in line)
    return {job_id: state.split()[0] for job_id, state in pairs if state}
