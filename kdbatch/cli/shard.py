"""What `kdbatch toy` and `kdbatch shard` do, the latter here or by the elements of a SLURM array;
and what they say of it.
"""

from dataclasses import replace
from pathlib import Path

from kdbatch.base.errors import UserError
from kdbatch.base.lookup import lookup
from kdbatch.base.text import plural
from kdbatch.cli.terminal import progress, say
from kdbatch.shard.index import translate_write_errors, write_index
from kdbatch.shard.shard_plan import ShardPlan, parse_shard_range, plan_shards, split_into_ranges
from kdbatch.shard.toy.size import SIZES
from kdbatch.vocab.config import Config, load_config
from kdbatch.vocab.datasets import DATASETS
from kdbatch.vocab.shard_request import ShardRequest


def toy(folder: Path, *, size: str, seed: int, processes: int) -> None:
    """`kdbatch toy`."""
    from kdbatch.shard.toy.write import write_toy  # PyAV, which a login node may lack

    chosen = lookup(SIZES, size, where="kdbatch toy --size")
    with progress("toy videos") as tell:
        write_toy(folder, seed=seed, processes=processes, progress=tell, size=chosen)
    say(
        f"The stand-ins of k400, ssv2, ucf101 and hmdb51 lie in {folder}/. Next: cd {folder} && kdbatch shard k400"
    )


def shard(request: ShardRequest, *, shards: str, slurm: bool, dry_run: bool) -> None:
    """`kdbatch shard`."""
    if shards and (slurm or dry_run):
        raise UserError(
            "shard: --shards makes its shards here and now; leave --slurm and --dry-run out."
        )
    config = load_config()
    root = _root_of(request.dataset, request.root, config)
    job = plan_shards(
        request.dataset,
        root=root,
        shards_dir=config.shards_dir,
        part=_part_of(request.dataset, request.split),
        subset=request.subset,
        videos_per_shard=request.videos_per_shard,
        max_rejected=request.max_rejected,
        transcode=request.transcode,
    )
    for note in job.notes:
        say(note)
    if dry_run or slurm:
        _shard_on_slurm(
            job,
            config,
            replace(job.request, processes=request.processes),
            dry_run=dry_run,
            slurm=slurm,
        )
    else:
        _shard_here(job, shards, request.processes)


def _root_of(dataset: str, root: str, config: Config) -> Path:
    lookup(DATASETS, dataset, where="kdbatch shard")
    if not root and dataset not in config.datasets:
        raise UserError(
            f'{dataset}: where are the videos? Say --root FOLDER, or write into kdbatch.toml: [datasets.{dataset}] root = "FOLDER"'
        )
    return Path(root or config.datasets[dataset].root)


def _part_of(dataset: str, split: str) -> str:
    known = DATASETS[dataset]
    return (
        lookup(known.part_of, split, where=f"kdbatch shard {dataset} --split")
        if split
        else known.parts[0]
    )


def _shard_here(plan: ShardPlan, shards: str, processes: int) -> None:
    from kdbatch.shard.build import build_from_plan  # PyAV again

    chosen = parse_shard_range(shards, plan.num_shards) if shards else None
    with progress(f"shard {plan.dataset}") as tell:
        built = build_from_plan(plan, shards=chosen, processes=processes, progress=tell)
    if built.throughput.num_videos:
        say(f"{plan.dataset}/{plan.part}: {built.throughput}")
    if built.index is None:
        say(
            f"{plan.dataset}/{plan.part}: shards {shards} are there; index.json comes with the last of {plan.num_shards}."
        )
        return
    made = built.index.parts[plan.part].shards
    num_videos, rejected = sum(s.num_videos for s in made), sum(s.num_rejected for s in made)
    note = f"; {rejected} rejected, see rejected.parquet there" if rejected else ""
    size = sum(s.num_bytes for s in made) / 1e9
    say(
        f"{plan.dataset}/{plan.part}: {plural(num_videos, 'video')} in {plural(len(made), 'tar')}, {size:.3f} GB, in {plan.folder}/{note}"
    )


def _shard_on_slurm(
    plan: ShardPlan, config: Config, request: ShardRequest, *, dry_run: bool, slurm: bool
) -> None:
    from kdbatch.launch.slurm.shard_array import (
        ShardArray,
        num_elements,
        submit_shard_array,
    )  # submitit, which no worker needs

    missing = plan.missing_shards()
    what = f"{plan.dataset}/{plan.part}: {len(missing)} of {plan.num_shards} shards for {plan.num_positions} videos are still to be made"
    if not missing and not dry_run:
        with translate_write_errors(plan, again=f"{request.command} --slurm"):
            write_index(plan)
    if not slurm or not missing:
        say(f"{what}.")
        return
    array = ShardArray(
        name=f"shard-{plan.dataset}-{plan.part}",
        words=request.arguments,
        ranges=split_into_ranges(missing, num_elements(len(missing), config=config)),
        folder=plan.folder / "slurm" / plan.part,
        cwd=Path.cwd(),
        binds=(Path.cwd(), config.shards_dir, plan.root),
    )
    if dry_run:
        say(f"{what}, by {plural(len(array.ranges), 'element')} of a SLURM array.")
        return
    with translate_write_errors(plan, again=f"{request.command} --slurm"):
        array.folder.mkdir(parents=True, exist_ok=True)
    job_ids = submit_shard_array(array, config=config)
    job_words = f"job {job_ids[0].partition('_')[0]} with {plural(len(job_ids), 'element')}"
    say(f"{what}: {job_words}. Watch it: squeue --me; its logs: {array.folder}/*.log")
