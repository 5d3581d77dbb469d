"""Processor time, in units of a fixed piece of work: machines differ, ratios hardly do."""

import json
import time
from collections.abc import Callable


def seconds(call: Callable[[], object]) -> float:
    """Processor seconds, the better of two."""
    spent = []
    for _ in range(2):
        before = time.process_time()
        call()
        spent.append(time.process_time() - before)
    return min(spent)


def work() -> float:
    """Processor seconds of the piece of work: JSON written and read, half a second or so."""
    return seconds(lambda: [json.loads(json.dumps({"a": [i, str(i)]})) for i in range(100_000)])
