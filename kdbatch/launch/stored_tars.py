"""Compares the tars on disk with their index by name and size, before a run would miss one."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from kdbatch.base.errors import UserError, unreadable
from kdbatch.base.folders.presence import entries_of, is_present
from kdbatch.vocab.plans.plan import Plan
from kdbatch.vocab.recipes.recipe import subsets_of
from kdbatch.vocab.shards.index import Shard, ShardIndex, load_index
from kdbatch.vocab.shards.subset import Subset, request_like, shards_of

SHOWN_TARS = 3


def check_tars(plan: Plan, shards_dir: Path) -> None:
    """Check the tars of all runs that are still to be done.

    Raises:
        UserError: a tar is missing or has another size; one line per data set and part.
    """
    if lines := wrong_tars_of_plan(plan, shards_dir):
        raise UserError(*lines)


def wrong_tars_of_plan(plan: Plan, shards_dir: Path) -> tuple[str, ...]:
    """A line with the command that helps, for each part with wrong tars that a run reads."""
    subsets: dict[Subset, None] = {}
    for planned in plan.runs:
        if not planned.done:
            subsets |= dict.fromkeys(subsets_of(planned.run.recipe))
    lines: dict[str, None] = {}
    for dataset in {subset.dataset: None for subset in subsets}:
        if not is_present(shards_dir / dataset / "index.json"):
            continue
        index = load_index(shards_dir, dataset)
        needed = {
            shard.name
            for subset in subsets
            if subset.dataset == dataset and subset.digest
            for shard in shards_of(index, subset)
        }
        lines.update(dict.fromkeys(_wrong_tars(shards_dir / dataset, index, needed)))
    return tuple(lines)


def wrong_tars(shards_dir: Path, dataset: str) -> tuple[str, ...]:
    """A line for each part of a data set with tars that are missing or have another size."""
    index = load_index(shards_dir, dataset)
    names = {shard.name for part in index.parts.values() for shard in part.shards}
    return tuple(_wrong_tars(shards_dir / dataset, index, names))


def _wrong_tars(folder: Path, index: ShardIndex, names: set[str]) -> Iterable[str]:
    """The folder is listed once, which a shared file system answers faster than many questions."""
    try:
        entries = [entry for entry in entries_of(folder) if entry.name in names]
        sizes = {entry.name: entry.stat().st_size for entry in entries}
    except OSError as error:
        raise unreadable(folder, error) from error
    for part_name, part in index.parts.items():
        shards = [shard for shard in part.shards if shard.name in names]
        wrong = [shard for shard in shards if sizes.get(shard.name) != shard.num_bytes]
        if wrong:
            command = request_like(index, part_name, subset=part.num_places).command
            yield (
                f"{folder}: {len(wrong)} of {len(shards)} tars differ from index.json: "
                f"{_shown(wrong, sizes)}. Make them again: {command}"
            )


def _shown(wrong: Sequence[Shard], sizes: dict[str, int]) -> str:
    texts = [
        f"{shard.name} has {sizes[shard.name]:,} of {shard.num_bytes:,} bytes"
        if shard.name in sizes
        else f"{shard.name} is missing"
        for shard in wrong[:SHOWN_TARS]
    ]
    return ", ".join(texts) + (", ..." if len(wrong) > SHOWN_TARS else "")
