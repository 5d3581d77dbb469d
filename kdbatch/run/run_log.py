"""The log of a run: plain lines with the time, which rank 0 writes to its standard output."""

import logging
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress

import torch

from kdbatch.base.output.visible_text import visible
from kdbatch.base.text import plural
from kdbatch.run.context import RunContext
from kdbatch.run.data.batch import Batch
from kdbatch.vocab.recipes.distill import Distill
from kdbatch.vocab.recipes.finetune import Finetune
from kdbatch.vocab.runs.folder import Assignment

PARENT_NOUNS = {
    "finetune": "starts from",
    "distill": "teacher",
    "retrieve": "features of",
    "compare": "network",
}
LINE_SECONDS = 60.0  # the pace of lines about a long task
_log = logging.getLogger(__name__)


class _StandardOutput(logging.Handler):
    """Writes each line at once and whole. A full disk costs the line, not the run."""

    def emit(self, record: logging.LogRecord) -> None:
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(record.created))
        with suppress(OSError):
            os.write(1, f"{when} {visible(record.getMessage())}\n".encode())


@contextmanager
def log_to_stdout() -> Iterator[None]:
    """Show the log inside the `with` block. Ranks that do not call this log nothing."""
    logger = logging.getLogger("kdbatch.run")
    handler, before = _StandardOutput(), logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.setLevel(before)
        logger.removeHandler(handler)


def log_start(assignment: Assignment, context: RunContext) -> None:
    """Log what this attempt does, where, and from which runs."""
    run, reporter, group = assignment.run, context.reporter, context.group
    _log.info("%s %s: %s", run.recipe.kind, context.folder.id, assignment.title)
    where = [f"attempt {reporter.attempt} on {reporter.host}", _device_name(context.device)]
    if group.world_size > 1:
        where.append(f"{group.world_size} processes")
    if context.num_workers:
        where.append(f"{plural(context.num_workers, 'decode worker')} per process")
    if reporter.job:
        where.append(f"job {reporter.job}")
    _log.info("%s", ", ".join(where))
    nouns = dict.fromkeys(run.pretrained, "starts from") | dict.fromkeys(
        run.equal_to, "is to equal"
    )
    for parent in run.parents:
        title = context.folder.parent(parent).load().title
        _log.info("%s %s: %s", nouns.get(parent, PARENT_NOUNS[run.recipe.kind]), parent, title)
    if isinstance(run.recipe, Distill):
        _log.info("%s", _teaching(run.recipe) if run.teachers else "no teachers: the labels alone")
    elif isinstance(run.recipe, Finetune) and not run.parents:
        _log.info("starts from random weights")


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type} with {plural(torch.get_num_threads(), 'thread')}"


def _teaching(recipe: Distill) -> str:
    instead = "labels smoothed instead, " if recipe.soft_target == "smoothed-labels" else ""
    return (
        f"loss {recipe.loss}, weighting {recipe.weighting}, {instead}"
        f"temperature {recipe.temperature:g}, "
        f"weight of the labels {recipe.hard_weight:g}, of the teachers {recipe.soft_weight:g}"
    )


def log_progress(batches: Iterable[Batch], total: int, *, what: str) -> Iterator[Batch]:
    """Yield the batches, and log once a minute how many of them are done."""
    line_at = time.monotonic()
    for number, batch in enumerate(batches):
        if time.monotonic() - line_at >= LINE_SECONDS:
            _log.info("%s: batch %d of %d", what, number, total)
            line_at = time.monotonic()
        yield batch
