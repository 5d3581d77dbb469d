"""Everything in this folder is drawn from a seed, and run by `make test-hostile`."""

import os
import random

import pytest

SEED = int(os.environ.get("KDBATCH_HOSTILE_SEED", "1"))


@pytest.fixture
def rng(request: pytest.FixtureRequest) -> random.Random:
    """Chance of one test: equal for equal seeds, whichever tests run beside it."""
    return random.Random(f"{SEED}/{request.node.name}")
