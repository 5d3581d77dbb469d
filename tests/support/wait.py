"""Waiting for something that another process or thread does."""

import time
from collections.abc import Callable

MAX_PAUSE_SECONDS = 0.05


def wait_until(
    condition: Callable[[], object],
    *,
    timeout: float = 15.0,
    what: Callable[[], str] = lambda: "",
    max_pause: float = MAX_PAUSE_SECONDS,
) -> None:
    """Poll `condition` until it is true, at first every 10 ms, later every `max_pause` seconds.

    Raises:
        AssertionError: it was not true within `timeout` seconds. `what()` completes the message.
    """
    deadline = time.monotonic() + timeout
    pause = 0.01
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout:g} s: {what() or 'see the traceback'}")
        time.sleep(pause)
        pause = min(1.5 * pause, max_pause)
