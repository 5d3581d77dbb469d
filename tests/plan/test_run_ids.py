"""The run ids of the study's own experiments: a change of them makes finished runs useless."""

import hashlib

import pytest
from support.inputs import JOBS

from kdbatch.plan.resolve import make_plan

NAMES = ("out_of_distribution", "pretext_categories", "recipe", "subset_size", "task_complexity")
FILES = [JOBS / f"{name}.yaml" for name in NAMES]
DIGESTS = {
    "h200": "7bdcce85333beccc",
    "micro": "218a611f3148602a",
    "paper": "6e001132c031b806",
}


@pytest.mark.parametrize("profile", DIGESTS)
def test_the_study_has_the_run_ids_that_it_had(sharded, profile: str) -> None:
    config = sharded(k400=240_000, ssv2=168_000, ucf101=13_320, hmdb51=6766)
    plan = make_plan(FILES, profile=profile, config=config)
    ids = "\n".join(sorted(item.run.id for item in plan.runs))
    assert hashlib.sha256(ids.encode()).hexdigest()[:16] == DIGESTS[profile]
