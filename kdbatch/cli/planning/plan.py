"""`kdbatch plan`: the runs that experiments need and their cost, as text or as JSON."""

import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

from kdbatch.base.command_lines import plan_command
from kdbatch.base.errors import UserError
from kdbatch.base.folders.presence import is_present
from kdbatch.cli.arguments.experiments import check_experiments
from kdbatch.cli.live.console import console
from kdbatch.cli.planning.known_datasets import known_datasets
from kdbatch.cli.planning.plan_text import left_out_of, plan_lines
from kdbatch.cli.study import load_study_config
from kdbatch.cli.terminal import print_json, print_line, warn
from kdbatch.launch.checks.extensions import check_extensions
from kdbatch.launch.checks.imported_files import check_imported_files
from kdbatch.launch.container.command import check_container
from kdbatch.launch.machine import QueueKind, default_jobs, queue_kind, visible_gpus
from kdbatch.launch.run_status import load_run_rows
from kdbatch.launch.slurm.squeue.shared_answers import JobsCache
from kdbatch.launch.stored_tars import wrong_tars_of_plan
from kdbatch.plan.costs.totals import PlanTotals, Total, plan_totals, total_of
from kdbatch.plan.resolve import make_plan
from kdbatch.plan.subsets import shard_commands
from kdbatch.vocab.config import Config
from kdbatch.vocab.plans.plan import MissingShards, Plan, PlannedRun
from kdbatch.vocab.status import RunState

MANY_CPU_HOURS = 100.0  # from here on a plan also says what GPUs would take


class PlanAddition(Protocol):
    """More about a plan, shown in place of its text and in addition to its JSON."""

    @property
    def words(self) -> str:
        """The flags that ask for it, as they were typed, after a space."""
        ...

    def lines(self, plan: Plan, config: Config) -> Iterable[str]:
        """Return its lines."""
        ...

    def as_json(self, plan: Plan, config: Config) -> dict[str, Any]:
        """Return it for a program."""
        ...


def plan(
    files: tuple[Path, ...], *, profile: str, json: bool, power: PlanAddition | None = None
) -> None:
    """`kdbatch plan`."""
    config = load_study_config()

    def repeat(files: Sequence[Path], other: str) -> str:
        added = (" --json" if json else "") + (power.words if power else "")
        return plan_command(files, profile=other or profile) + added

    check_experiments(files, repeat=repeat)
    queue = queue_kind()
    has_gpus = queue == "slurm" or bool(visible_gpus())
    datasets = known_datasets(config)
    plan = make_plan(files, profile=profile, config=config, has_gpus=has_gpus, datasets=datasets)
    _warn_of_container(config, queue)
    for line in (*check_imported_files(plan, config), *check_extensions(plan, config)):
        warn(line)
    if power and not json:
        for line in power.lines(plan, config):
            print_line(line)
        return
    num_at_once = config.site.max_concurrent if queue == "slurm" else default_jobs()
    totals = plan_totals(plan, num_at_once=num_at_once)
    states = _states(plan, config)
    for line in (*wrong_tars_of_plan(plan, config.shards_dir), *plan.warnings):
        warn(line)
    if json:
        commands = shard_commands(plan.missing, slurm=queue == "slurm")
        whole = _as_json(plan, totals, states, profile=profile, commands=commands)
        if power:
            whole["power"] = power.as_json(plan, config)
        print_json(whole)
        return
    on_gpus = None
    if totals.all_runs.device_hours.get("CPU", 0.0) > MANY_CPU_HOURS and not has_gpus:
        same = make_plan(files, profile=profile, config=config, datasets=datasets)
        on_gpus = total_of(same.runs)
    out = console()
    width = out.width if out.is_terminal else None
    for line in plan_lines(
        plan, totals, states, queue=queue, profile=profile, on_gpus=on_gpus, width=width
    ):
        print_line(line)


def _warn_of_container(config: Config, queue: QueueKind) -> None:
    """Warn of what submit will refuse: a plan may be made where the image is not."""
    try:
        check_container(config, on_this_machine=queue == "local")
    except UserError as error:
        warn(f"the runs cannot start yet. {error}")


def _states(plan: Plan, config: Config) -> dict[str, RunState]:
    """The state of each run of the plan: that of its folder, or `planned` where it has none."""
    rows: dict[str, RunState] = {}
    if is_present(config.runs_dir):
        live = JobsCache(config.runs_dir, warn=warn).live()
        rows = {row.run_id: row.state for row in load_run_rows(config.runs_dir, live=live)}
    return {
        planned.run.id: "done" if planned.done else rows.get(planned.run.id, "planned")
        for planned in plan.runs
    }


def _as_json(
    plan: Plan,
    totals: PlanTotals,
    states: dict[str, RunState],
    *,
    profile: str,
    commands: Sequence[str],
) -> dict[str, Any]:
    packed = {p.run.recipe.kind: p.resources.runs_per_job for p in plan.runs}
    return {
        "profile": profile,
        "experiments": [record.experiment for record in plan.records],
        "provisional": bool(plan.missing),
        "missing_shards": [
            {**_missing_as_json(missing), "command": command}
            for missing, command in zip(plan.missing, commands, strict=True)
        ],
        "left_out": [{"subset": title, "videos": num} for title, _, num in left_out_of(plan)],
        "encodings": plan.encodings,
        "totals": {
            **_total_as_json(totals.all_runs),
            "longest_chain_hours": totals.chain.hours,
            "longest_chain": [planned.run.id for planned in totals.chain.runs],
            "runs_at_once": totals.num_at_once,
            "wall_hours": totals.wall_hours,
            "shard_bytes": round(plan.shard_bytes),
        },
        "by_kind": {
            kind: {**_total_as_json(total), **_jobs_as_json(total, packed[kind])}
            for kind, total in totals.by_kind.items()
        },
        "by_experiment": {
            name: _total_as_json(total) for name, total in totals.by_experiment.items()
        },
        "frame_rates": {
            record.experiment: [dataclasses.asdict(rate) for rate in record.rates]
            for record in plan.records
        },
        "runs": [_run_as_json(planned, states[planned.run.id]) for planned in plan.runs],
    }


def _missing_as_json(missing: MissingShards) -> dict[str, Any]:
    return {
        "dataset": missing.request.dataset,
        "part": missing.part,
        "videos_needed": missing.num_needed,
        "videos_stored": missing.num_stored,
    }


def _total_as_json(total: Total) -> dict[str, Any]:
    return {
        "runs": total.num_runs,
        "done": total.num_done,
        "shared": total.num_shared,
        "gpu_hours_to_do": total.device_hours.get("GPU", 0.0),
        "cpu_hours_to_do": total.device_hours.get("CPU", 0.0),
        "read_bytes_to_do": round(total.read_bytes),
    }


def _jobs_as_json(total: Total, runs_per_job: int) -> dict[str, int]:
    """The jobs of SLURM for the runs of a kind."""
    num_to_do = total.num_runs - total.num_done
    return {"runs_per_job": runs_per_job, "jobs_to_do": -(-num_to_do // runs_per_job)}


def _run_as_json(planned: PlannedRun, state: RunState) -> dict[str, Any]:
    cost = planned.cost
    return {
        "id": planned.run.id,
        "provisional": planned.provisional,
        "kind": planned.run.recipe.kind,
        "title": planned.title,
        "seed": planned.run.seed,
        "parents": list(planned.run.parents),
        "used_by": list(planned.used_by),
        "state": state,
        "hours": planned.hours,
        "device": cost.device,
        "device_hours": cost.device_hours,
        "rate": "measured" if cost.num_measured else "assumed",
        "rate_device": cost.device_title,
        "rate_runs": cost.num_measured,
        "not_measured": list(cost.unmeasured),
        "read_bytes": round(cost.read_bytes),
        "resources": dataclasses.asdict(planned.resources),
    }
