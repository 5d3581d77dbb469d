"""What `kdbatch shard` does with a job: here, or by the elements of a SLURM array; and what it says of it."""

from pathlib import Path

from kdbatch.shard.index import publish_index
from kdbatch.shard.job import Job, groups_of, range_of_words
from kdbatch.terminal import progress, say
from kdbatch.vocab.config import Config
from kdbatch.vocab.datasets import DATASETS
from kdbatch.vocab.errors import UserError
from kdbatch.vocab.pick import pick


def root_of(dataset: str, root: str, config: Config) -> Path:
    pick(DATASETS, dataset, where="kdbatch shard")
    if not root and dataset not in config.datasets:
        raise UserError(
            f'{dataset}: where are the videos? Say --root FOLDER, or write into kdbatch.toml: [datasets.{dataset}] root = "FOLDER"'
        )
    return Path(root or config.datasets[dataset].root)


def part_of(dataset: str, split: str) -> str:
    known = DATASETS[dataset]
    return pick(known.part_of, split, where=f"kdbatch shard {dataset} --split") if split else known.parts[0]


def shard_here(job: Job, shards: str, processes: int) -> None:
    from kdbatch.shard.build import build_job  # PyAV, which a login node may lack

    chosen = range_of_words(shards, job.num_shards) if shards else None
    with progress(f"shard {job.dataset}") as tell:
        built = build_job(job, shards=chosen, processes=processes, progress=tell)
    if built.throughput.num_videos:
        say(f"{job.dataset}/{job.part}: {built.throughput}")
    if built.index is None:
        say(f"{job.dataset}/{job.part}: shards {shards} are there; index.json comes with the last of {job.num_shards}.")
        return
    made = built.index.parts[job.part].shards
    count, rejected = sum(s.num_videos for s in made), sum(s.num_rejected for s in made)
    note = f"; {rejected} rejected, see rejected.parquet there" if rejected else ""
    size = sum(s.num_bytes for s in made) / 1e9
    say(f"{job.dataset}/{job.part}: {count} videos in {len(made)} tars, {size:.3f} GB, in {job.folder}/{note}")


def shard_on_slurm(job: Job, config: Config, words: tuple[str, ...], *, dry_run: bool, slurm: bool) -> None:
    from kdbatch.launch.shard_array import ShardArray, num_elements, submit_shard_array  # submitit, which no worker needs

    missing = job.missing()
    what = f"{job.dataset}/{job.part}: {len(missing)} of {job.num_shards} shards for {job.num_places} videos are still to be made"
    if not missing and not dry_run:
        publish_index(job)
    if not slurm or not missing:
        say(f"{what}.")
        return
    array = ShardArray(
        name=f"shard-{job.dataset}-{job.part}",
        words=words,
        ranges=groups_of(missing, num_elements(len(missing), config=config)),
        folder=job.folder / "slurm" / job.part,
        cwd=Path.cwd(),
        binds=(Path.cwd(), config.shards_dir, job.root),
    )
    if dry_run:
        say(f"{what}, by {len(array.ranges)} elements of a SLURM array.")
        return
    job_ids = submit_shard_array(array, config=config)
    say(f"{what}: job {job_ids[0].partition('_')[0]} with {len(job_ids)} elements. Watch it: squeue --me; its logs: {array.folder}/*.log")
