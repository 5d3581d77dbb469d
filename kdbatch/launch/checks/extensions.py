"""Tries the code of other distributions in a worker's Python, before runs start that use it."""

import dataclasses
from collections.abc import Iterator

from kdbatch.base.errors import UserError
from kdbatch.launch.checks.findings import Finding, bad, note, ok
from kdbatch.launch.checks.worker_answer import NoAnswerError, worker_answer
from kdbatch.vocab.config import Config
from kdbatch.vocab.installed.tables import installed_lines
from kdbatch.vocab.plans.plan import Plan

MODULE = "kdbatch.run.extensions"


def check_extensions(plan: Plan, config: Config) -> tuple[str, ...]:
    """Try what a plan uses and has still to run; return a line if that is not possible here.

    Raises:
        UserError: workers have other code, or something does not keep its contract; one line each.
    """
    codes = {code for planned in plan.runs if not planned.done for code in planned.run.code}
    if not codes:
        return ()
    question = [dataclasses.asdict(code) for code in sorted(codes)]
    try:
        problems = worker_answer(MODULE, question, config)["problems"]
    except NoAnswerError as error:
        return (f"code of other distributions is not tried here ({error})",)
    if problems:
        raise UserError(*problems)
    return ()


def extension_findings(config: Config) -> Iterator[Finding]:
    """Findings about each installed distribution: whether workers have it, and what breaks."""
    here = installed_lines()
    if not here:
        return
    try:
        answer = worker_answer(MODULE, [], config)
    except NoAnswerError as error:
        yield note("code", f"{'; '.join(here)}; not tried here ({error})")
        return
    place = " in the image" if config.container.image else " for workers"
    yield from compared(here, answer["installed"], place=place)
    for problem in answer["problems"]:
        yield bad("code", problem)


def compared(here: tuple[str, ...], there: tuple[str, ...], *, place: str) -> Iterator[Finding]:
    """Findings about the code of other distributions here and where workers run."""
    for line in here:
        if line in there:
            yield ok("code", line)
        else:
            hint = "Install it there: container/README.md, Code of your own"
            yield bad("code", f"{line}; not{place}. {hint}")
    for line in there:
        if line not in here:
            yield note("code", f"only{place}: {line}")
