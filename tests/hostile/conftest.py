"""Everything in this folder is drawn from a seed, and run by `make test-hostile`."""

import os
import random

import pytest
from support.studies import study_cache, write_study
from support.toys import toys

__all__ = ["study_cache", "toys", "write_study"]

SEED = int(os.environ.get("KDBATCH_HOSTILE_SEED", "1"))


@pytest.fixture
def rng(request: pytest.FixtureRequest) -> random.Random:
    """Chance of one test: equal for equal seeds, whichever tests run beside it."""
    return random.Random(f"{SEED}/{request.node.name}")
