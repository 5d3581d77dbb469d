"""Writes the results of a stage that trains: weights, rows and curves."""

import logging

from torch import nn

from kdbatch.result.schema import CURVES, ROWS
from kdbatch.result.write import Measure, write_measures
from kdbatch.run.checkpoint import save_weights
from kdbatch.run.context import RunContext
from kdbatch.run.data.batches import LeftOut
from kdbatch.run.train.loop import TrainingResult
from kdbatch.vocab.done import StageFacts

_log = logging.getLogger(__name__)


def pretext_measures(
    trained: TrainingResult, chance: float, left_out: LeftOut, *, subset: str
) -> list[Measure]:
    """The task's accuracy, chance, and score: 0 at chance level, 100 without errors."""
    accuracy = [point.value for point in trained.curves if point.name == "accuracy"][-1]
    percentages = {
        "pretext_accuracy": 100 * accuracy,
        "pretext_chance": 100 * chance,
        "pretext_score": 100 * (accuracy - chance) / (1 - chance),
    }
    result = "task accuracy in training %.1f %%, chance %.1f %%, score %.1f of 100"
    _log.info(result, *percentages.values())
    measures = [
        Measure(name=name, value=value, unit="percent", subset=subset)
        for name, value in percentages.items()
    ]
    return [
        *measures,
        Measure(name="videos_too_short", value=left_out.num_short, unit="count", subset=subset),
        Measure(name="videos_too_slow", value=left_out.num_slow, unit="count", subset=subset),
    ]


def write_run_results(
    context: RunContext, module: nn.Module, measures: list[Measure], trained: TrainingResult
) -> StageFacts:
    """Write weights, rows and curves, on rank 0."""
    folder = context.folder
    if not context.group.is_rank0:
        return StageFacts()
    sha256 = save_weights(folder.model, module)
    num_parameters = sum(p.numel() for p in module.parameters())
    measures = [
        *measures,
        Measure(name="parameters", value=num_parameters, unit="count"),
        Measure(name="clips_per_second", value=trained.clips_per_second, unit="clips/s"),
        Measure(name="train_seconds", value=trained.seconds, unit="seconds"),
        Measure(name="idle_share", value=trained.idle_percent, unit="percent"),
        Measure(name="max_memory", value=trained.max_memory_gb, unit="GB"),
    ]
    if trained.gpu_utilisation_percent is not None:
        value = trained.gpu_utilisation_percent
        measures.append(Measure(name="gpu_utilisation", value=value, unit="percent"))
    write_measures(folder.rows, folder.id, measures, schema=ROWS)
    write_measures(folder.curves, folder.id, trained.curves, schema=CURVES)
    return StageFacts(
        model_sha256=sha256,
        num_parameters=num_parameters,
        clips_per_second=trained.clips_per_second,
        idle_percent=trained.idle_percent,
        gpu_utilisation_percent=trained.gpu_utilisation_percent,
    )
