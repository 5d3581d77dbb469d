"""The comparison stage: CKA maps of trained networks."""

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from torch import Tensor

from kdbatch.base.errors import UserError
from kdbatch.result.schema import CKA, ROWS
from kdbatch.result.write import Measure, write_measures, write_table
from kdbatch.run.cka.block_structure import describe_blocks
from kdbatch.run.cka.cka import CkaResult, LayerSimilarity, compute_cka
from kdbatch.run.cka.half_batches import jackknife_intervals, random_halves
from kdbatch.run.context import RunContext
from kdbatch.run.data.batches import EvaluationBatches, iterate_batches, load_videos
from kdbatch.run.data.prefetch import staging
from kdbatch.run.data.sampling import evenly_spaced_clips
from kdbatch.run.rng import rng_for
from kdbatch.run.run_log import log_progress
from kdbatch.run.weights import load_classifier, new_classifier
from kdbatch.vocab.done import StageFacts
from kdbatch.vocab.recipes.compare import Compare
from kdbatch.vocab.runs.folder import Assignment, RunFolder

_log = logging.getLogger(__name__)


def compare(recipe: Compare, assignment: Assignment, context: RunContext) -> StageFacts:
    """CKA between the layers of one or two trained models, with intervals over clips.

    A self map is also described by its block structure. Each rank takes every W-th batch; rank 0
    writes the results.

    Raises:
        Stopped: this process received a stop signal. Nothing of a map is kept.
    """
    source = _source(recipe, assignment, context)
    runs = tuple(dict.fromkeys(assignment.run.parents))
    models = [load_classifier(context.folder.parent(run)) for run in runs]
    if recipe.untrained:
        untrained = new_classifier(recipe.untrained, recipe.data, seed=assignment.run.seed)
        runs, models = ("untrained network",), [untrained.eval().requires_grad_(False)]
    models = [model.to(context.device) for model in models]
    result = compute_cka(
        models[0],
        models[1] if len(models) > 1 else None,
        _clips(source, recipe, context),
        layers=recipe.layers,
        halves_Sm=random_halves(recipe.batch_clips, rng=rng_for(assignment.run.seed, "halves")),
        group=context.group,
        titles=runs,
    )
    if context.group.is_rank0:
        _write_map(context.folder, result)
        numbers = _numbers(
            result.whole, kinds=result.kinds_a, seed=assignment.run.seed, num_surrogates=200
        )
        of_halves = [
            _numbers(half, kinds=result.kinds_a, seed=assignment.run.seed, num_surrogates=0)
            for half in result.halves
        ]
        numbers |= jackknife_intervals(numbers, of_halves)
        measures = [
            Measure(name=name, value=value, unit="1", subset=recipe.data.title)
            for name, value in numbers.items()
        ]
        write_measures(context.folder.rows, context.folder.id, measures, schema=ROWS)
        _log_result(result, runs, numbers["mean_cka"])
        context.reporter.show(f"mean CKA {numbers['mean_cka']:.3f}")
    return StageFacts(num_clips=result.num_clips, num_layers=result.whole.value_LM.shape)


def _log_result(result: CkaResult, runs: Sequence[str], mean: float) -> None:
    _log.info(
        "CKA of %s (%d layers) with %s (%d layers) over %d clips: mean %.3f",
        runs[0],
        len(result.layers_a),
        runs[1] if len(runs) > 1 else "itself",
        len(result.layers_b),
        result.num_clips,
        mean,
    )


def _clips(source: EvaluationBatches, recipe: Compare, context: RunContext) -> Iterator[Tensor]:
    group = context.group
    steps = range(group.rank, len(source), group.world_size)
    stage = staging(context.device)
    batches = iterate_batches(source, steps, num_workers=context.num_workers, stage=stage)
    for batch in log_progress(batches, len(steps), what="CKA"):
        context.reporter.raise_if_stopped()
        yield batch.views(size_pixels=recipe.view.size_pixels, device=context.device)[0]


def _source(recipe: Compare, assignment: Assignment, context: RunContext) -> EvaluationBatches:
    """Whole batches of middle clips, the same for every map of these data and this seed."""
    videos, _ = load_videos(Path(assignment.shards_dir), recipe.data, view=recipe.view)
    num_batches = min(recipe.num_clips, len(videos)) // recipe.batch_clips
    if num_batches == 0:
        raise UserError(
            f"{recipe.data.title}: {len(videos)} videos fill no batch of "
            f"{recipe.batch_clips}. Lower compare.batch_clips."
        )
    if num_batches < context.group.world_size:
        raise UserError(
            f"{recipe.data.title}: {num_batches} batches of {recipe.batch_clips} clips are too few "
            f"for {context.group.world_size} processes. Lower compare.batch_clips, or request at "
            f"most {num_batches} GPUs."
        )
    order = rng_for(assignment.run.seed, "compare").permutation(len(videos))
    return EvaluationBatches(
        [videos[i] for i in order[: num_batches * recipe.batch_clips]],
        view=recipe.view,
        videos_per_batch=recipe.batch_clips,
        request=lambda sample: evenly_spaced_clips(sample, recipe.view, 1),
        clip_reader=context.clip_reader,
    )


def _numbers(
    similarity: LayerSimilarity, *, kinds: Sequence[str], seed: int, num_surrogates: int
) -> dict[str, float]:
    """Numbers that describe a map; of two networks the means, as blocks need a self map."""
    numbers = {
        "mean_cka": float(np.mean(similarity.value_LM)),
        "mean_rsa": float(np.mean(similarity.rsa_LM)),
    }
    dominant = similarity.dominant
    if dominant is None:
        return numbers
    blocks = describe_blocks(
        similarity.value_LM,
        kinds,
        rng=rng_for(seed, "surrogates"),
        num_surrogates=num_surrogates,
        deflated_LL=dominant.deflated_LL,
        without_outliers_LL=dominant.without_outliers_LL,
    )
    numbers |= {
        name: float(value) for name, value in vars(blocks).items() if isinstance(value, int | float)
    }
    return numbers | {
        "pc1_share": float(np.mean(dominant.pc1_share_L)),
        "pc1_block_mass": dominant.pc1_block_mass,
    }


def _write_map(folder: RunFolder, result: CkaResult) -> None:
    rows = [
        {
            "run_id": folder.id,
            "index_a": a,
            "index_b": b,
            "layer_a": result.layers_a[a],
            "layer_b": result.layers_b[b],
            "kind_a": result.kinds_a[a],
            "kind_b": result.kinds_b[b],
            "value": float(result.whole.value_LM[a, b]),
            "rsa": float(result.whole.rsa_LM[a, b]),
        }
        for a in range(len(result.layers_a))
        for b in range(len(result.layers_b))
    ]
    write_table(folder.cka, rows, schema=CKA)
