"""The time that each run adds to a report, in units of a fixed piece of work."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path

from support.finished_plans import write_finished_plan
from support.inputs import JOBS
from support.speed import in_work

from kdbatch.plan.resolve import make_plan
from kdbatch.report.data.study import load_study
from kdbatch.report.results_export import write_all_rows
from kdbatch.vocab.config import Config

NUM_SEEDS = 3
WORK_PER_RUN = 1 / 280  # it takes 1 / 500 or so, and 1 / 350 on a busy machine


def test_each_run_costs_a_bounded_share_of_a_piece_of_work(
    sharded: Callable[..., Config], tmp_path: Path
) -> None:
    """Figures do not grow with the runs: what does is reading them, with their digests, and
    results.parquet.
    """
    config = sharded(k400=240_000, ucf101=13_320, hmdb51=6766, ssv2=100_000)
    shutil.copytree(JOBS, tmp_path / "jobs")
    profile = tmp_path / "jobs" / "profiles" / "micro.yaml"
    seeds = f"seeds: {list(range(NUM_SEEDS))}"
    profile.write_text(re.sub(r"^seeds:.*", seeds, profile.read_text(), flags=re.MULTILINE))
    plan = make_plan(sorted((tmp_path / "jobs").glob("*.yaml")), profile="micro", config=config)
    write_finished_plan(plan, config)
    assert len(plan.runs) > 500
    study = load_study(config.runs_dir)
    assert len(study.done) == len(plan.runs) and not study.warnings

    def read_and_export() -> None:
        write_all_rows(load_study(config.runs_dir), tmp_path / "results.parquet")

    assert in_work(read_and_export, looks=3) / len(plan.runs) < WORK_PER_RUN
