"""A study on a simulated cluster with the limits of a large site, from submit to its last run."""

import os
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from simulation.cluster.login import Cost, Login
from simulation.cluster.nodes import SiteFacts
from support.inputs import JOBS

from kdbatch.vocab.config import Config
from kdbatch.vocab.plans.records import find_records
from kdbatch.vocab.runs.folder import RunFolder

FILE = "jobs/subset_size.yaml"
NUM_SEEDS = int(os.environ.get("KDBATCH_SIMULATED_SEEDS", "15"))
"""Of the large study: 138 runs each; 145 make 20,022."""
SITE = """\
[site]
max_array_size = {size}
max_concurrent = 1000
[resources]
pretrain = {{minutes = 60}}
finetune = {{minutes = 40}}
distill = {{minutes = 50}}
retrieve = {{minutes = 20}}
compare = {{minutes = 20}}
"""
CALLS_AN_HOUR = {"sbatch": 30, "squeue": 45, "scontrol": 30, "sacct": 5, "scancel": 5}
"""What `kdbatch resume` at each hour may ask of SLURM, whatever the number of runs."""
FILE_CALLS_A_RUN = 25
"""What each command may ask of the file system, for each run of the plan."""
OPEN_FILES = 40


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """A study that has come to its end, and what it took."""

    login: Login
    runs: frozenset[str]
    costs: list[Cost]

    @property
    def lines(self) -> list[str]:
        """The costs of each command, and the calls of the busiest hour: for `pytest -s`."""
        busiest = ", ".join(f"{self.most_calls(name)} {name}" for name in CALLS_AN_HOUR)
        workers, nodes = self.login.workers, self.login.nodes
        return [
            *(cost.line() for cost in self.costs),
            f"the busiest hour: {busiest}",
            f"{len(self.runs):,} runs in {self.login.clock.hour} h, {workers.attempts:,} starts",
            f"{nodes.warned} time limits, {nodes.preempted} preemptions, {nodes.lost} lost nodes",
            f"not done at first: {dict(workers.failed)}",
        ]

    def most_calls(self, program: str) -> int:
        """The calls of a program in its busiest hour."""
        return max(hour[program] for hour in self.login.programs.calls.values())


def write_study(sharded: Callable[..., Config], *, num_seeds: int, array_size: int) -> None:
    """The first experiment with many seeds: 138 runs each."""
    sharded(k400=240_000, ucf101=13_320, hmdb51=6766)
    profiles = Path("jobs/profiles")
    profiles.mkdir(parents=True)
    Path(FILE).write_text((JOBS / "subset_size.yaml").read_text())
    text = (JOBS / "profiles" / "paper.yaml").read_text()
    seeds = f"seeds: {list(range(num_seeds))}"
    (profiles / "paper.yaml").write_text(re.sub(r"^seeds:.*", seeds, text, flags=re.MULTILINE))
    Path("kdbatch.toml").write_text(SITE.format(size=array_size))


def run_study(login: Login, *, max_hours: int) -> Outcome:
    """Submit, and type `kdbatch resume` at each hour, as cron would, until nothing is left."""
    costs = [login.type("submit", FILE, "--profile=paper")]
    while login.clock.hour < max_hours and "Nothing to resume" not in costs[-1].text:
        login.sleep(3600 - login.clock.now % 3600)
        costs.append(login.type("resume"))
    costs.append(login.type("status"))
    runs = {run.id for record in find_records(Path("runs")) for run in record.runs}
    return Outcome(login=login, runs=frozenset(runs), costs=costs)


def assert_each_run_ended_once(outcome: Outcome) -> None:
    workers = outcome.login.workers
    assert workers.done == Counter(dict.fromkeys(outcome.runs, 1))
    assert all(RunFolder(Path("runs") / run_id).is_done() for run_id in outcome.runs)
    assert outcome.login.nodes.queue.live == {}
    assert workers.doubled == workers.needless == 0


def assert_costs_are_bounded(outcome: Outcome) -> None:
    for program, most in CALLS_AN_HOUR.items():
        assert outcome.most_calls(program) <= most, program
    for cost in outcome.costs:
        calls = cost.files.total()
        assert calls <= FILE_CALLS_A_RUN * len(outcome.runs) + 1000, cost.line()
        assert cost.most_open <= OPEN_FILES, cost.line()


@pytest.mark.slow
def test_400_runs_end_once_though_nodes_are_lost_and_the_queue_is_short(
    sharded: Callable[..., Config], in_tmp: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_study(sharded, num_seeds=3, array_size=51)
    facts = SiteFacts(
        num_nodes=10,
        max_array_size=51,
        max_submit_jobs=100,
        failures_per_day=2.0,
        free_hours=3.0,
        taken_hours=0.5,
        busy_share=0.05,
    )
    login = Login(monkeypatch, in_tmp, facts)
    outcome = run_study(login, max_hours=60)
    print("\n".join(outcome.lines))  # noqa: T201 - for pytest -s
    assert_each_run_ended_once(outcome)
    assert_costs_are_bounded(outcome)
    assert login.nodes.lost and login.nodes.preempted and login.nodes.warned


@pytest.mark.simulation
def test_thousands_of_runs_end_once_on_a_large_site(
    sharded: Callable[..., Config], in_tmp: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_study(sharded, num_seeds=NUM_SEEDS, array_size=1001)
    outcome = run_study(Login(monkeypatch, in_tmp, SiteFacts()), max_hours=60)
    print("\n".join(outcome.lines))  # noqa: T201 - for pytest -s
    assert_each_run_ended_once(outcome)
    assert_costs_are_bounded(outcome)
