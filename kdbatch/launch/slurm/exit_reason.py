"""Why a job ended whose worker cannot report it: from its script, or from the accounting."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kdbatch.base.command_lines import resume_command
from kdbatch.launch.slurm.answers import read_states, shown_line
from kdbatch.launch.slurm.commands import output_or_nothing
from kdbatch.launch.slurm.job.job_script import SETUP_FAILED
from kdbatch.launch.slurm.submissions import Submission
from kdbatch.vocab.attempts.exit_rules import OUT_OF_MEMORY, describe_exit, exit_rule
from kdbatch.vocab.attempts.retries import Retries

MEMORY_HINT = (
    "ran out of memory: raise memory_gb under [resources] in kdbatch.toml, "
    f"then: {resume_command(retry_failed=True)}"
)
MAX_QUERIED = 500  # job ids on one command line


@dataclass(frozen=True, kw_only=True)
class ExitReason:
    """The last line that a job's script wrote about its end: the exit code and the words that it
    added, and how many of its lines are the same.

    `logs` are those of the script and of the worker that it started.
    """

    code: int
    words: str
    times: int
    logs: tuple[Path, ...]

    @property
    def line(self) -> str:
        """As the script writes it, and as its limits are looked up."""
        return f"{self.code} {self.words}".rstrip()

    @property
    def message(self) -> str:
        """The reason in a sentence, with the logs to read."""
        times = f", {self.times} times" if self.times > 1 else ""
        if self.words == OUT_OF_MEMORY:
            return MEMORY_HINT
        if self.words == SETUP_FAILED:
            return (
                f"its job's setup failed ({describe_exit(self.code)}): look at setup under [site] "
                f"in kdbatch.toml, and see {self.logs[0]}"
            )
        rule = exit_rule(self.line)
        if rule.name == "disk full":
            return f"{rule.meaning}; see {self.logs[-1]}"
        if rule.name == "no container":
            return f"{rule.meaning}{times}; see {self.logs[0]}"
        written = [path for path in self.logs if path.exists() and path.stat().st_size]
        logs = " and ".join(map(str, written or self.logs[:1]))
        if rule.name == "rendezvous":
            return f"{rule.meaning}{times}; see {logs}"
        return f"its job ended by itself ({describe_exit(self.code)}){times}; see {logs}"

    def is_final(self, retries: Retries) -> bool:
        """Whether the run has failed: the script does not start the job again, and nobody had asked
        the job to end.
        """
        rule = exit_rule(self.line)
        return rule.is_final and self.times > rule.max_retries(retries)


def last_exit_reason(submission: Submission, *, log: Path | None = None) -> ExitReason | None:
    """The reason why the submission's job ended. `log` is its worker's.

    None where the script wrote nothing: it ended well, is in the queue or running, or was ended
    with its node.
    """
    stems = dict.fromkeys((submission.stem, submission.folder / submission.job_id))
    # a job that runs share may end before it starts them: the later start counts
    found = [(*lines[-1], lines, stem) for stem in stems if (lines := _endings(stem))]
    if not found:
        return None
    _, ending, lines, stem = max(found, key=lambda each: each[0])
    code, _, words = ending.partition(" ")
    logs = (stem.with_name(f"{stem.name}_0_log.err"), *([log] if log else []))
    times = sum(each == ending for _, each in lines)
    return ExitReason(code=int(code), words=words, times=times, logs=logs)


def _endings(stem: Path) -> list[tuple[int, str]]:
    """The number of each start, and how it ended: `CODE WORDS`; none where the last line is none
    of the script's.
    """
    try:
        text = stem.with_name(f"{stem.name}.ended").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    lines = [line.partition(" ")[::2] for line in text.split("\n")[:-1]]
    if not lines or not lines[-1][1].partition(" ")[0].isdigit():
        return []
    return [(int(start) if start.isdigit() else 0, ending) for start, ending in lines]


def ran_out_of_memory(submission: Submission, ending: ExitReason | None, *, state: str) -> bool:
    """Whether the run's last job ran out of memory, by its script's `ending` or by the `state` in
    the accounting. That is of the whole job, and tells nothing of one of several runs.
    """
    by_script = ending is not None and ending.words == OUT_OF_MEMORY
    return by_script or (state == "OUT_OF_MEMORY" and submission.place is None)


def accounting_states(job_ids: Sequence[str]) -> dict[str, str]:
    """The last state of each job in one word; of no job where the site keeps no accounts. An answer
    that has no states stands in their place.
    """
    if not job_ids:
        return {}
    output = output_or_nothing(
        "sacct",
        "--allocations",
        "--noheader",
        "--parsable2",
        f"--jobs={','.join(job_ids[:MAX_QUERIED])}",
        "--format=JobID,State",
        seconds=60.0,
    )
    states = read_states(output)
    if output.strip() and not states:
        return dict.fromkeys(job_ids, f"sacct answers with no states, but {shown_line(output)}")
    return states
