"""The numbers of attempts that may be interrupted."""

from dataclasses import dataclass
from typing import Annotated

from kdbatch.base.reading.field_facts import Limits, check_limits


@dataclass(frozen=True, kw_only=True)
class Retries:
    """How many attempts at a run may end by each cause before the run has failed.

    A run that raised an error or ran out of memory is not retried.
    """

    timeout: Annotated[int, Limits("attempts", least=0, most=1_000_000)] = 20
    """Attempts that the time limit may end."""
    preemption: Annotated[int, Limits("attempts", least=0, most=1_000_000)] = 100
    """Attempts that jobs of higher priority may end."""
    node_failure: Annotated[int, Limits("attempts", least=0, most=1_000_000)] = 5
    """Attempts that a lost node may end."""
    crash: Annotated[int, Limits("attempts", least=0, most=1_000_000)] = 2
    """Attempts whose process may be killed, for example by a signal."""
    requeue: Annotated[int, Limits("attempts", least=0, most=1_000_000)] = 100
    """Attempts that an operator may end by a requeue."""

    def __post_init__(self) -> None:
        check_limits(self)

    @property
    def total(self) -> int:
        return self.timeout + self.preemption + self.node_failure + self.crash + self.requeue

    @property
    def startup(self) -> int:
        """How often a job is started again whose worker ended before it could count."""
        return self.crash + 1
