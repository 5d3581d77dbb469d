"""A real SLURM on this machine, and studies in folders of the job user."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pytest
import yaml

from kdbatch.launch.run_status import load_run_rows
from kdbatch.launch.states.run_row import RunRow
from kdbatch.vocab.runs.folder import RunFolder
from kdbatch.vocab.status import load_status
from support import micro_study as micro
from support.wait import wait_until

HERE = Path(__file__).parents[1] / "cluster"
ROOT = HERE.parents[1]
PACKAGES = Path(sysconfig.get_path("purelib"))
WITHOUT, WITH = "without accounting", "with accounting"  # what a test may ask of the cluster
BOTH = [WITHOUT, pytest.param(WITH, marks=pytest.mark.rare)]
EPOCHS = 2
PROFILE = "test"  # the one that micro_study writes
# Rows about the machine: the only ones that may differ between two trainings of one run.
ABOUT_MACHINE = ("clips_per_second", "train_seconds", "idle_share", "max_memory")


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """Commands are run on its login node, as the job user; `work` is a folder that login node and
    nodes share.
    """

    work: Path

    def run(
        self,
        *words: str,
        cwd: Path | None = None,
        timeout: float = 120,
        env: Mapping[str, str] | None = None,
    ) -> str:
        """Run a command and return its output; it must exit with 0."""
        done = self.start(*words, cwd=cwd, env=env)
        said, _ = done.communicate(timeout=timeout)
        assert done.returncode == 0, f"{' '.join(words)}: exit code {done.returncode}\n{said}"
        return said

    def start(
        self, *words: str, cwd: Path | None = None, env: Mapping[str, str] | None = None
    ) -> "subprocess.Popen[str]":
        """A command in the background; it prints to its `stdout`."""
        given = {
            "PYTHONPATH": str(ROOT),
            "PYTHONDONTWRITEBYTECODE": "1",
            "OMP_NUM_THREADS": "1",
            **(env or {}),
        }
        return subprocess.Popen(
            [
                str(HERE / "enter"),
                "env",
                *(f"{name}={value}" for name, value in given.items()),
                *words,
            ],
            cwd=cwd or self.work,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def study(
        self, name: str, *, shards: Path, epochs: int, config: str = "", only: str = ""
    ) -> Path:
        """A study in a new folder of the job user; see `make_study`."""
        (self.work / name).mkdir()
        folder = make_study(
            self.work / name, shards=shards, epochs=epochs, config=config, only=only
        )
        self.give(folder)
        return folder

    def kdbatch(self, folder: Path, *words: str, timeout: float = 240) -> str:
        """The output of `kdbatch WORDS` in `folder`."""
        return self.run(sys.executable, "-m", "kdbatch", *words, cwd=folder, timeout=timeout)

    def start_kdbatch(self, folder: Path, *words: str) -> "subprocess.Popen[str]":
        return self.start(sys.executable, "-m", "kdbatch", *words, cwd=folder)

    def submit(self, folder: Path, *more: str) -> str:
        return self.kdbatch(
            folder, "submit", f"jobs/{experiment_in(folder).name}", f"--profile={PROFILE}", *more
        )

    def queue(self, folder: Path | None = None) -> dict[str, str]:
        """The states of the jobs that SLURM has not ended, by id; of all or of one folder's."""
        output = self.run("squeue", "--array", "--noheader", "--format=%i %T %Z")
        rows = [line.split(maxsplit=2) for line in output.splitlines()]
        return {job: state for job, state, cwd in rows if folder is None or cwd == str(folder)}

    @contextlib.contextmanager
    def limited(self, *, most_jobs: int) -> Iterator[None]:
        """The accounting takes no more jobs of the job user at once inside."""
        try:
            self._limit_jobs(most_jobs)
            yield
        finally:
            self._limit_jobs(-1)

    def _limit_jobs(self, most: int) -> None:
        sacctmgr = [str(HERE / "enter"), "--root", "sacctmgr", "--immediate"]
        user = self.run("id", "-un").strip()
        words = ["modify", "user", user, "set", f"MaxSubmitJobs={most}"]
        subprocess.run([*sacctmgr, *words], check=True, capture_output=True)

    @property
    def limits_memory(self) -> bool:
        """Whether a job that takes more than it asked for is killed: `up` found a memory
        controller.
        """
        return "TaskPlugin=task/cgroup" in (self.work.parent / "conf" / "slurm.conf").read_text()

    def node(self, action: str, name: str) -> None:
        subprocess.run(
            [str(HERE / "node"), action, name], check=True, capture_output=True, text=True
        )

    def lose(self, node: str) -> None:
        """A node's power fails, and comes back."""
        self.node("crash", node)
        self.node("start", node)

    @contextlib.contextmanager
    def configured(self, **settings: str) -> Iterator[None]:
        """Change settings of slurm.conf inside."""
        path = self.work.parent / "conf" / "slurm.conf"
        before = path.read_text()
        changed = before
        for name, value in settings.items():
            changed = re.sub(rf"^{name}=.*$", f"{name}={value}", changed, flags=re.MULTILINE)
        assert changed != before
        try:
            self._reconfigure(path, changed)
            yield
        finally:
            self._reconfigure(path, before)

    def _reconfigure(self, path: Path, text: str) -> None:
        path.write_text(text)
        subprocess.run(
            [str(HERE / "enter"), "--root", "scontrol", "reconfigure"],
            check=True,
            capture_output=True,
        )

    def give(self, path: Path) -> None:
        """Make everything below `path` the job user's."""
        owner = self.work.stat()
        for each in (path, *path.rglob("*")):
            os.chown(each, owner.st_uid, owner.st_gid, follow_symlinks=False)

    def wait_all_done(self, folder: Path, *, timeout: float = 600) -> None:
        """Until every run of the folder is done and its jobs have left the queue. The limit is for
        a machine that others use too.
        """

        def ended() -> bool:
            rows = load_run_rows(folder / "runs")
            assert not [r for r in rows if r.state in ("failed", "blocked")], describe(folder)
            return bool(rows) and all(r.state == "done" for r in rows) and not self.queue(folder)

        wait_for_jobs(
            ended,
            timeout=timeout,
            what=lambda: f"runs done\n{describe(folder)}\n{self.run('squeue')}",
        )


def wait_for_jobs(
    condition: Callable[[], object], *, timeout: float, what: Callable[[], str]
) -> None:
    """wait_until() with two looks a second: a look costs a call of squeue, or reads all runs, and
    the jobs have the same cores.
    """
    wait_until(condition, timeout=timeout, what=what, max_pause=0.5)


def make_study(
    folder: Path, *, shards: Path, epochs: int, config: str = "", only: str = ""
) -> Path:
    """Fill an empty folder: shards, one experiment, a profile of `epochs` epochs and a
    kdbatch.toml.

    `only="labels"` keeps of the experiment one run that has no parents.
    """
    (folder / "shards").symlink_to(shards)
    experiment = micro.write_jobs(folder, epochs=epochs)
    if only == "labels":
        raw = yaml.safe_load(experiment.read_text())
        student = {key: value for key, value in raw["student"].items() if key != "weighting"} | {
            "teachers": []
        }
        kept = {
            "name": "labels",
            "title": "One run",
            "vary": {"target": ["ucf101"]},
            "teachers": {},
            "student": student,
        }
        experiment.unlink()
        experiment.with_name("labels.yaml").write_text(yaml.safe_dump(kept, sort_keys=False))
    (folder / "kdbatch.toml").write_text(config)
    return folder


def experiment_in(folder: Path) -> Path:
    (found,) = (folder / "jobs").glob("*.yaml")
    return found


def site(
    *,
    image: Path | None = None,
    minutes: int = 10,
    gpus: int = 1,
    nodes: int = 1,
    memory_gb: int = 3,
    **of_site: str,
) -> str:
    """A kdbatch.toml for the test cluster; with an image whose packages are this machine's, bound
    on /srv.
    """
    values = (
        f"nodes = {nodes}, gpus = {gpus}, cpus = 2, minutes = {minutes}, memory_gb = {memory_gb}"
    )
    resources = f"{{{values}}}"
    lines = ["[site]", 'partition = "gpu"', "max_array_size = 100", "max_concurrent = 3"]
    for key, value in of_site.items():
        lines = [line for line in lines if not line.startswith(f"{key} =")] + [f"{key} = {value}"]
    lines += [
        "[resources]",
        *(f"{kind} = {resources}" for kind in ("pretrain", "finetune", "distill", "compare")),
    ]
    if image:
        lines += [
            "[container]",
            f'image = "{image}"',
            'gpu = "none"',
            f'binds = ["{PACKAGES}:/srv:ro"]',
        ]
    return "\n".join((*lines, ""))


def the_run(folder: Path) -> RunRow:
    """The row of a folder's only run."""
    (row,) = load_run_rows(folder / "runs")
    return row


def describe(folder: Path) -> str:
    """Every run of a folder and the end of its log, for a failure's message."""
    lines = []
    for row in load_run_rows(folder / "runs"):
        log = folder / "runs" / row.run_id / "log.txt"
        end_of_log = log.read_text()[-600:] if log.exists() else ""
        progress = f"attempt {row.attempt} step {row.step}/{row.num_steps}"
        lines.append(f"{row.run_id} {row.kind} {row.state} {progress} {row.reason}\n{end_of_log}")
    return "\n".join(lines)


def has_checkpoint(folder: Path) -> bool:
    row = the_run(folder)
    assert row.state in ("queued", "planned", "running"), (
        f"it ended before it could be disturbed\n{describe(folder)}"
    )
    return row.state == "running" and RunFolder(folder / "runs" / row.run_id).checkpoint.exists()


def stopped(folder: Path) -> int:
    """The worker's process, which waits for `go_on`: on a fast machine it would else be done before
    its turn comes.
    """
    status = load_status(RunFolder(folder / "runs" / the_run(folder).run_id).status)
    assert status and status.pid
    os.kill(status.pid, signal.SIGSTOP)
    return status.pid


def go_on(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGCONT)


def measured(folder: Path) -> dict[str, dict[str, object]]:
    """The results of each run: hashes of weights, bytes of predictions and maps, and its rows."""
    found = micro.run_results(folder)
    for run_id, facts in found.items():
        rows = pl.read_parquet(folder / "runs" / run_id / "rows.parquet").filter(
            ~pl.col("name").is_in(ABOUT_MACHINE)
        )
        facts["rows"] = rows.rows()
    return found
