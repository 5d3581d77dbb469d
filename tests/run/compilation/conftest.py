"""One process compiles the networks of all fast tests of this folder."""

from collections.abc import Callable

import pytest
from support.compiling import Outcome, finish, start

ACTIONS = ("evaluate", "evaluate-fast", "gradients", "distill", "infer", "run", "failures")


@pytest.fixture(scope="session")
def outcomes() -> dict[str, Outcome]:
    found = finish(start(*(f"{action}/r21d_10" for action in ACTIONS)))
    return dict(zip(ACTIONS, found, strict=True))


@pytest.fixture
def outcome(outcomes: dict[str, Outcome]) -> Callable[..., Outcome]:
    """Return the outcome of an action on a network; a process of its own has those but r21d_10."""

    def of(action: str, kind: str = "r21d_10") -> Outcome:
        found = outcomes[action] if kind == "r21d_10" and action in ACTIONS else None
        (found,) = [found] if found else finish(start(f"{action}/{kind}"))
        assert not found.error, found.error
        return found

    return of
