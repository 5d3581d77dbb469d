"""Plans of any shape, the behaviour of the stand-in worker, and the events that it wrote."""

import json
import re
import sys
import time
from pathlib import Path

from kdbatch.launch.run_folders import submissions_dir
from kdbatch.launch.slurm.submissions import Sbatch, save_sbatch
from kdbatch.vocab.config import Config, Paths, Site
from kdbatch.vocab.jobs.resources import Resources
from kdbatch.vocab.plans.plan import Estimate, Plan, PlannedRun, Wave
from kdbatch.vocab.plans.records import PlanRecord
from kdbatch.vocab.recipes.compare import Compare
from kdbatch.vocab.runs.run import Run
from kdbatch.vocab.shards.subset import Subset
from kdbatch.vocab.views import View
from support.golden import assert_golden

LAUNCH_SHELL = str(Path(__file__).with_name("launch_shell.py"))
STAND_IN = (sys.executable, str(Path(__file__).with_name("stand_in_worker.py")))
DATA = Subset(dataset="ucf101", split="train01", num_places=0, num_classes=3, digest="0")
RESOURCES = Resources(gpus=1, cpus=4, minutes=90, memory_gb=16)
RECORD = PlanRecord(
    experiment="shape",
    title="A shape",
    profile="toy",
    source="",
    axes={},
    roles={},
    tables=(),
    maps=(),
    claims=(),
    cells=(),
)


def config_in(folder: Path, *, site: Site | None = None) -> Config:
    return Config(
        paths=Paths(shards=str(folder / "shards"), runs=str(folder / "runs")), site=site or Site()
    )


def plan_of(
    shape: dict[str, tuple[str, ...]],
    *,
    cost: dict[str, float] | None = None,
    waves: tuple[tuple[str, ...], ...] = (),
    resources: Resources = RESOURCES,
) -> Plan:
    """A run per name, with the runs that it lists as parents; its name is its title. One wave per
    depth, unless `waves` are given.
    """
    runs: dict[str, Run] = {}
    depth: dict[str, int] = {}
    for seed, (name, parents) in enumerate(shape.items()):
        recipe = Compare(data=DATA, view=View())
        runs[name] = Run(
            recipe=recipe, seed=seed, parents=tuple(runs[parent].id for parent in parents)
        )
        depth[name] = 1 + max((depth[parent] for parent in parents), default=-1)
    groups = waves or tuple(
        tuple(n for n in shape if depth[n] == d) for d in range(max(depth.values()) + 1)
    )
    return Plan(
        records=(RECORD,),
        runs=tuple(
            PlannedRun(
                run=run,
                title=name,
                resources=resources,
                done=False,
                used_by=("shape",),
                cost=Estimate(device_hours=(cost or {}).get(name, 1.0)),
            )
            for name, run in runs.items()
        ),
        waves=tuple(
            Wave(
                name=f"wave{i}", resources=resources, run_ids=tuple(runs[name].id for name in group)
            )
            for i, group in enumerate(groups)
        ),
    )


def ids(plan: Plan) -> dict[str, str]:
    return {p.title: p.run.id for p in plan.runs}


def act(plan: Plan, config: Config, name: str, **how: object) -> None:
    """Set how the stand-in worker of run `name` behaves; see stand_in_worker.py."""
    folder = config.runs_dir / ids(plan)[name]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "act.json").write_text(json.dumps(how))


def events(plan: Plan, config: Config) -> list[str]:
    """The events that the workers wrote, in order, with names for ids: `begin a`, `end a`, ..."""
    names = {run_id: name for name, run_id in ids(plan).items()}
    path = config.runs_dir / "events.txt"
    lines = [line.split() for line in path.read_text().splitlines()] if path.exists() else []
    return [f"{line[0]} {names[line[1]]}" for line in lines]


def assert_golden_script(name: str, script: str, *, folder: Path) -> None:
    """`script` is the accepted job script, once what differs between machines is replaced: the
    test's folder, the interpreter, and the part of the job's name that is drawn for each call.
    """
    text = script.replace(str(folder), "ROOT").replace(sys.executable, "PYTHON")
    drawn = r"(--job-name=kdbatch-.*)-[0-9a-f]{6}-[0-9a-f]{6}$"
    assert_golden(name, re.sub(drawn, r"\1-HOME-CALL", text, flags=re.MULTILINE))


def submitted(config: Config, *keys: str, number: str = "41", at: float | None = None) -> Sbatch:
    """Write a journal entry as if these runs had been submitted; its folder is named by the job's
    number.
    """
    sbatch = Sbatch(
        name="kdbatch-x",
        keys=keys,
        asked_at=time.time() if at is None else at,
        number=number,
        released=True,
    )
    save_sbatch(submissions_dir(config.runs_dir) / number, sbatch)
    return sbatch
