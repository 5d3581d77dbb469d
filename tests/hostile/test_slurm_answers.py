"""Odd answers of SLURM's commands, one by one and mixed: no trace, nothing is submitted twice or
left held, and no other job is touched.
"""

import random
import re
import tomllib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from support.launching import config_in, plan_of
from support.slurm import slurm

from kdbatch.base.errors import UserError
from kdbatch.base.parse import parse
from kdbatch.launch.checks.doctor import run_checks
from kdbatch.launch.init_config import config_text, detect_site
from kdbatch.launch.run_folders import submissions_dir
from kdbatch.launch.run_status import load_run_rows
from kdbatch.launch.slurm.cancel import cancel_runs
from kdbatch.launch.slurm.squeue.shared_answers import JobsCache, QueueAnswer
from kdbatch.launch.slurm.submissions import last_submissions
from kdbatch.launch.slurm.submit import submit_arrays
from kdbatch.vocab.config import Config, Container

__all__ = ["slurm"]

pytestmark = pytest.mark.hostile

PLAN = plan_of({"a": (), "b": (), "x": ("a", "b"), "y": ("a",)})
NUM_MIXES = 60
FOREIGN = (
    b"7|somebody-elses|PENDING|JobHeldUser\n"
    b"8_1|gr\xfc\xdfe|from|\x1b[31mafar|RUNNING|None\n"
    b"9|kdbatch-wave0-abcdef-abcdef|PENDING|JobHeldUser\n"
)
TRANSIENT = (
    "Unexpected message received",
    "Message receive failure",
    "Protocol authentication error",
    "I/O error writing script/environment to file",
    "Requested operation is presently disabled",
    "Socket timed out on send/recv operation",
    "Zero Bytes were transmitted or received",
)
LASTING = (
    "AssocMaxSubmitJobLimit",
    "Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)",
    "invalid partition specified: gpuu",
    "Some words of a plugin that nobody knows \\xff",
)
# Each odd answer: the command, and lines of shell in which `real` is the command as it should be.
ONCE = '[ -e "$0.once" ] && real "$@" && exit; touch "$0.once"; '
ODD: dict[str, tuple[str, str]] = {
    "bare number": ("sbatch", "real \"$@\" | grep -o '[0-9]*'"),
    "parsable": ("sbatch", 'echo "$(real "$@" | grep -o \'[0-9]*\');west"'),
    "greeting before": ("sbatch", 'echo Your group runs job 7 of 50; real "$@"'),
    "greeting after": ("sbatch", 'real "$@"; echo used job 7 of 100 credits'),
    "silence": ("sbatch", 'real "$@" >/dev/null'),
    "on standard error": ("sbatch", 'real "$@" >&2'),
    "colours": ("sbatch", "printf '\\033[32m'; real \"$@\"; printf '\\033[0m'"),
    "latin-1": ("sbatch", "printf 'Gr\\374\\337e, job 9\\n'; real \"$@\"; printf '\\377\\n' >&2"),
    "zero bytes": ("sbatch", "printf '\\0\\0\\n'; real \"$@\""),
    "line ends of Windows": ("sbatch", "real \"$@\" | sed 's/$/\\r/'"),
    "a megabyte": ("sbatch", 'head -c 1000000 /dev/zero | tr "\\0" x; echo; real "$@"'),
    "a companion job": ("sbatch", 'echo Submitted batch job 7; real "$@"'),
    "a wrong number": ("sbatch", 'real "$@" >/dev/null; echo Submitted batch job 7'),
    "a full stop": ("sbatch", "real \"$@\" | sed 's/$/./'"),
    "another cluster": ("sbatch", "real \"$@\" | sed 's/$/ on cluster west/'"),
    "warnings": ("sbatch", 'echo sbatch: error: a plugin of job 7 complains >&2; real "$@"'),
    "killed": ("sbatch", 'real "$@" >/dev/null; kill -9 $$'),
    "refused without exit code": ("sbatch", "echo sbatch: error: Invalid account >&2; exit 0"),
    "refused at the second call": (
        "sbatch",
        '[ -e "$0.once" ] && { echo sbatch: error: QOSMaxSubmitJobPerUserLimit >&2; exit 1; }; '
        'touch "$0.once"; real "$@"',
    ),
    "not executable": ("sbatch", "exit 126"),
    "squeue: garbage": ("squeue", "echo garbage"),
    "squeue: warning": ("squeue", "echo slurm_load_jobs: warning"),
    "squeue: title": ("squeue", "echo 'JOBID|NAME|STATE|REASON'"),
    "squeue: number": ("squeue", "echo 38 jobs"),
    "squeue: lost exit code": ("squeue", "echo slurm_load_jobs error: Access denied >&2"),
    "squeue: busy, no exit code": ("squeue", f"{ONCE} echo error: Socket timed out >&2"),
    "squeue: busy once": ("squeue", f"{ONCE} echo error: Connection refused >&2; exit 1"),
    "squeue: fails": ("squeue", "echo squeue: error: Invalid user >&2; exit 1"),
    "squeue: killed": ("squeue", "kill -9 $$"),
    "squeue: banner": ("squeue", "echo Welcome, 7 jobs; echo; real"),
    "squeue: blanks": ("squeue", "real | sed 's/^/   /; s/$/   /'"),
    "squeue: more columns": ("squeue", "real | sed 's/|/|gpu|/; s/$/|me|0:00/'"),
    "squeue: without reasons": ("squeue", "real | sed 's/|[^|]*$//'"),
    "squeue: numbers only": ("squeue", "real | sed 's/|.*//'"),
    "squeue: short names": ("squeue", "real | sed 's/|\\(.\\{8\\}\\)[^|]*/|\\1/'"),
    "squeue: blank states": ("squeue", "real | sed 's/PENDING//'"),
    "squeue: name in front": ("squeue", "real | sed 's/^\\([^|]*\\)|\\([^|]*\\)/\\2|\\1/'"),
    "squeue: name of two lines": ("squeue", "real; printf '50|two\\nlines|PENDING|None\\n'"),
    "squeue: ended jobs": ("squeue", "real; echo '41_0|old|COMPLETED|None'"),
    "squeue: reasons in parentheses": ("squeue", "real | sed 's/|\\([^|]*\\)$/|(\\1)/'"),
    "squeue: missing": ("squeue", ""),
    "sacct: garbage": ("sacct", "echo garbage"),
    "sacct: three columns": ("sacct", "printf '41_0|FAILED|x\\n41_1|x|TIMEOUT\\n'"),
    "sacct: blank states": ("sacct", "printf '41_0|\\n41_1|  \\n||\\n|\\n'"),
    "sacct: latin-1": ("sacct", "printf '41_0|FAILED\\nGr\\374\\337e|\\377\\n'"),
    "sacct: no database": ("sacct", "echo sacct: error: slurm_persist_conn: refused >&2; exit 1"),
    "scontrol: busy once": ("scontrol", f"{ONCE} echo error: try again later >&2; exit 1"),
    "scontrol: noise": ("scontrol", "printf 'Gr\\374\\337e = \\n=\\n'; real \"$@\""),
    "scontrol: fails": ("scontrol", "echo slurm_suspend error: Access denied >&2; exit 1"),
    "scontrol: odd numbers": (
        "scontrol",
        '[ "$1" = show ] && printf "SLURM_VERSION = x\\nMaxArraySize = \u00b2\\nKillWait = '
        '99999999999\\n" && exit; real "$@"',
    ),
    "scancel: noise": ("scancel", "printf 'job 7 \\377\\n'; real \"$@\""),
    "scancel: fails once": ("scancel", f"{ONCE} echo error: Connection reset >&2; exit 1"),
    "sinfo: garbage": ("sinfo", "printf 'gr\\374\\337e|\\n|||\\n*|*|*\\ngpu\\n'"),
    "sinfo: types": ("sinfo", "echo 'gpu*|infinite|gpu:2080ti:4(S:0-1,gpu:1g.10gb:7,mps:x,gpu::'"),
    "sinfo: a quote": ("sinfo", "echo 'g\"p\\\\u*|1:00|gpu:a\"b:1'"),
    "apptainer: noise": ("apptainer", "printf '[[1,2]]\\nGr\\374\\337e\\n\\n'"),
    **{
        f"sbatch: {error}, then taken": (
            "sbatch",
            f'{ONCE} real "$@" >/dev/null; printf "sbatch: error: {error}\\n" >&2; exit 1',
        )
        for error in (*TRANSIENT, *LASTING)
    },
}


class Site:
    """The fake cluster with odd commands, foreign jobs in its queue, and a study."""

    def __init__(self, folder: Path, cluster: Path) -> None:
        self.cluster, self.config = cluster, config_in(folder)
        (folder / "kd.sif").touch()
        self.in_image = replace(self.config, container=Container(image=str(folder / "kd.sif")))
        (cluster / "queue").write_bytes(FOREIGN)

    def make_odd(self, names: list[str]) -> None:
        for command, lines in {ODD[name][0]: ODD[name][1] for name in names}.items():
            path = self.cluster / command
            if path.exists():
                path.rename(self.cluster / f"{command}.real")
            if lines:
                path.write_text(f'#!/bin/bash\nreal() {{ "{path}.real" "$@"; }}\n{lines}\n')
                path.chmod(0o755)

    def mend(self) -> None:
        for path in self.cluster.glob("*.real"):
            path.rename(path.with_suffix(""))

    def try_everything(self) -> list[str]:
        """Each command once or twice; returns the errors that a user reads."""
        tried: list[Callable[[], object]] = [
            lambda: submit_arrays(PLAN, config=self.config),
            self._status,
            lambda: submit_arrays(PLAN, config=self.config),
            lambda: list(run_checks(self.in_image)),
            lambda: parse(Config, tomllib.loads(config_text(detect_site())), where="kdbatch.toml"),
        ]
        errors: list[str] = []
        for act in tried:
            try:
                act()
            except UserError as error:
                errors.append(str(error))
        return errors

    def _status(self) -> None:
        warned: list[str] = []
        jobs = JobsCache(self.config.runs_dir, warn=warned.append)
        load_run_rows(self.config.runs_dir, live=jobs.live())
        # the accounting has to say what happened
        load_run_rows(self.config.runs_dir, live=QueueAnswer())
        assert all(map(is_one_line, warned)), warned

    def own_jobs(self) -> dict[str, str]:
        """The reasons of the queued jobs that are not foreign."""
        queue = (self.cluster / "queue").read_bytes()
        assert queue.startswith(FOREIGN), "a foreign job was touched"
        lines = queue.removeprefix(FOREIGN).decode().splitlines()
        return {line.split("|")[0]: line.split("|")[-1] for line in lines}

    def foreign_calls(self) -> list[str]:
        calls = [
            line
            for name in ("scontrol.txt", "scancel.txt")
            if (self.cluster / name).exists()
            for line in (self.cluster / name).read_text().splitlines()
        ]
        return [
            line for line in calls if re.search(r"\b[789](_1)?\b", re.sub("--name=.*", "", line))
        ]


def is_one_line(message: str) -> bool:
    return len(message) < 1000 and not re.search(r"[\x00-\x1f\x7f-\x9f]", message)


def check(folder: Path, cluster: Path, names: list[str]) -> None:
    """Meet odd answers, then mend them: in the end each run has one job, which is not held."""
    site = Site(folder, cluster)
    site.make_odd(names)
    errors = site.try_everything()
    assert all(map(is_one_line, errors)), errors
    at_most_once(site)
    with suppress(UserError):
        cancel_runs(site.config.runs_dir, [PLAN.runs[0].run.id])
    site.mend()
    submit_arrays(PLAN, config=site.config)
    assert submit_arrays(PLAN, config=site.config) == {}
    jobs = at_most_once(site)
    assert len(jobs) == len(PLAN.runs) and set(jobs.values()) == {"None"}, jobs
    assert site.foreign_calls() == []


def at_most_once(site: Site) -> dict[str, str]:
    """The own jobs of the queue; those that are not held are jobs of the journal, one for a run."""
    jobs, journal = site.own_jobs(), last_submissions(submissions_dir(site.config.runs_dir))
    free = {job_id for job_id, reason in jobs.items() if reason == "None"}
    assert free <= {submission.job_id for submission in journal.values()}
    return jobs


@pytest.mark.parametrize("name", ODD)
def test_an_odd_answer_loses_nothing_doubles_nothing_and_touches_no_other_job(
    slurm: Path, tmp_path: Path, name: str
) -> None:
    check(tmp_path, slurm, [name])


@pytest.mark.parametrize("number", range(NUM_MIXES))
def test_so_do_several_at_a_time(
    slurm: Path, tmp_path: Path, rng: random.Random, number: int
) -> None:
    check(tmp_path, slurm, rng.sample(list(ODD), k=rng.randint(2, 5)))
