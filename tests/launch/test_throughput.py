"""The tool's own cost at 1,000 runs, a fifth of what is promised for 5,000. Processor time: a busy
machine must not decide.
"""

import dataclasses
import json
import re
import shutil
import time

from support.inputs import JOBS
from support.launching import config_in, plan_of, submitted
from support.speed import in_work

from kdbatch.launch.run_folders import write_runs
from kdbatch.launch.run_status import load_run_rows
from kdbatch.launch.slurm.submit import submit_arrays
from kdbatch.plan.resolve import make_plan
from kdbatch.vocab.runs.folder import RunFolder
from kdbatch.vocab.status import Status


def test_planning(sharded, tmp_path):
    config = sharded(k400=240_000, ucf101=13_320, hmdb51=6766)
    shutil.copytree(JOBS, tmp_path / "jobs")
    profile = tmp_path / "jobs" / "profiles" / "paper.yaml"
    profile.write_text(
        re.sub(r"^seeds:.*", f"seeds: {list(range(8))}", profile.read_text(), flags=re.MULTILINE)
    )
    files = (tmp_path / "jobs" / "subset_size.yaml",)
    assert len(make_plan(files, profile="paper", config=config).runs) >= 999
    assert in_work(lambda: make_plan(files, profile="paper", config=config)) < 3


def test_all_seeds_share_the_recipes_of_one(sharded, tmp_path):
    """Making and checking a recipe was most of the time of a plan with many seeds."""
    config = sharded(k400=240_000, ucf101=13_320, hmdb51=6766)
    shutil.copytree(JOBS, tmp_path / "jobs")
    profile = tmp_path / "jobs" / "profiles" / "paper.yaml"
    text = profile.read_text()
    num_recipes = []
    for seeds in ([0, 1], [0, 1, 2, 3]):
        profile.write_text(re.sub(r"^seeds:.*", f"seeds: {seeds}", text, flags=re.MULTILINE))
        plan = make_plan((tmp_path / "jobs" / "subset_size.yaml",), profile="paper", config=config)
        trained = [p.run.recipe for p in plan.runs if p.run.recipe.kind != "compare"]
        num_recipes.append(len(set(map(id, trained))))
    assert num_recipes[0] == num_recipes[1] < len(trained) / 3


def test_a_thousand_runs_of_three_waves_are_three_calls_of_sbatch(slurm, tmp_path):
    """Students have teachers of their own, from all over the wave before."""
    shape = {f"a{i}": () for i in range(300)} | {f"b{i}": (f"a{i}",) for i in range(300)}
    shape |= {f"c{i}": (f"b{i % 300}", f"b{(7 * i + 1) % 300}") for i in range(400)}
    plan, config = plan_of(shape), config_in(tmp_path)
    handed_over: list[object] = []
    cost = in_work(lambda: handed_over.extend(submit_arrays(plan, config=config)), looks=1)
    assert cost < 6
    assert len(handed_over) == 1000
    assert len(list(slurm.glob("*.sbatch"))) == 3


def test_status(tmp_path):
    plan, config = plan_of(dict.fromkeys(map(str, range(1000)), ())), config_in(tmp_path)
    write_runs(plan, config=config)
    status = Status(
        state="running", heartbeat_at=time.time(), step=3, num_steps=9, host="elsewhere"
    )
    for planned in plan.runs:
        RunFolder(config.runs_dir / planned.run.id).status.write_text(
            json.dumps(dataclasses.asdict(status))
        )
    submitted(config, *(planned.run.id for planned in plan.runs))
    assert len(load_run_rows(config.runs_dir)) == 1000
    assert in_work(lambda: load_run_rows(config.runs_dir)) < 1.5
