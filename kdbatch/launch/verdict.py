"""How a job ended whose worker cannot say it: in the words of its script (batch.py), or of the accounting where there is one."""

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

from kdbatch.launch.batch import EXIT_NO_CONTAINER
from kdbatch.launch.journal import Submission
from kdbatch.launch.site import has_command
from kdbatch.launch.worker import ending

OUT_OF_MEMORY = "ran out of memory: raise memory_gb under [resources] in kdbatch.toml, then: kdbatch submit FILE --retry-failed"
MAX_ASKED = 500  # job ids on one command line


@dataclass(frozen=True, kw_only=True)
class Ending:
    """The last line that a job's script wrote of its start: its exit code, and whether memory had run out."""

    code: int
    times: int
    out_of_memory: bool
    logs: str

    @property
    def says(self) -> str:
        if self.out_of_memory:
            return OUT_OF_MEMORY
        often = f", {self.times} times" if self.times > 1 else ""
        if self.code == EXIT_NO_CONTAINER:
            return f"its container did not start{often}; see {self.logs}"
        return f"its job ended by itself ({ending(self.code)}{often}); see {self.logs}"


def last_ending(submission: Submission) -> Ending | None:
    """None where the script wrote nothing: it ended well, is in the queue or running, or was ended with its node."""
    stem = submission.folder / submission.job_id
    try:
        lines = stem.with_name(f"{stem.name}.ended").read_text(encoding="utf-8").split("\n")[:-1]
    except OSError:
        return None
    endings = [line.split(" ", 2)[1:] for line in lines if line.count(" ")]
    if not endings or not endings[-1][0].isdigit():
        return None
    code, *more = endings[-1]
    return Ending(code=int(code), times=sum(e[0] == code for e in endings), out_of_memory=bool(more), logs=f"{stem}_0_log.err")


def accounted(job_ids: Sequence[str]) -> dict[str, str]:
    """The last state of each job in one word, as far as the site keeps accounts."""
    if not job_ids or not has_command("sacct"):
        return {}
    asked = ",".join(job_ids[:MAX_ASKED])
    command = ["sacct", "--allocations", "--noheader", "--parsable2", f"--jobs={asked}", "--format=JobID,State"]
    try:
        told = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
        return {}  # most sites without accounts have the command nevertheless
    pairs = (line.split("|") for line in told.splitlines() if "|" in line)
    return {job_id: state.split()[0] for job_id, state in pairs if state}
