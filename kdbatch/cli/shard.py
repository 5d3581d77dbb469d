"""`kdbatch toy` and `kdbatch shard`: build here or submit a SLURM array, and print the outcome."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from kdbatch.base.command_lines import shard_command, shell_word, toy_command
from kdbatch.base.errors import UserError
from kdbatch.base.lookup import lookup
from kdbatch.base.study_folder import expand_home, find_study
from kdbatch.base.text import plural
from kdbatch.cli.live.progress import progress
from kdbatch.cli.study import check_target, load_study_config
from kdbatch.cli.terminal import print_line, warn
from kdbatch.launch.container.pull import prepare_container
from kdbatch.shard.index import translate_write_errors, write_index
from kdbatch.shard.shard_plan import ShardPlan, check_request, plan_shards
from kdbatch.shard.shard_ranges import parse_shard_range, split_into_ranges
from kdbatch.shard.toy.size import SIZES
from kdbatch.vocab.config import Config, load_config
from kdbatch.vocab.datasets import DATASETS
from kdbatch.vocab.shard_request import ShardRequest
from kdbatch.vocab.shards.index import ShardIndex
from kdbatch.vocab.sources.dataset_source import unknown_dataset


def toy(folder: Path, *, size: str, datasets: str, seed: int, processes: int) -> None:
    """Write the toy data sets, and print the next command. `datasets` are separated by commas."""
    from kdbatch.shard.toy.write import write_toy  # PyAV, which a login node may lack

    check_target(folder, load_config(), spelling=toy_command(Path("FOLDER"), size=size))
    chosen = lookup(SIZES, size, where="toy --size")
    names = datasets.split(",") if datasets else list(DATASETS)
    for name in names:
        lookup(DATASETS, name, where="toy --datasets")
    again = toy_command(folder, size=size, datasets=datasets, seed=seed, processes=processes)
    stopped = f"stopped: the finished videos in {folder}/ are kept. Resume: {again}"
    with _line_on_interrupt(lambda: stopped), progress("toy videos") as report:
        write_toy(
            folder,
            seed=seed,
            processes=processes,
            progress=report,
            size=chosen,
            datasets=names,
        )
    print_line(
        f"The stand-ins of {', '.join(names)} are in {folder}/. "
        f"Next: cd {shell_word(folder)} && {shard_command(names[0])}"
    )


def shard(request: ShardRequest, *, shards: str, slurm: bool, dry_run: bool) -> None:
    """Build the requested shards, submit them to SLURM, or print what would be done."""
    if shards and (slurm or dry_run):
        raise UserError(
            "shard: --shards makes its shards here and now; leave --slurm and --dry-run out."
        )
    config = load_study_config()
    plan = plan_shards(
        request,
        root=_root_of(request, config),
        shards_dir=config.shards_dir,
        source=config.datasets.get(request.dataset),
    )
    if dry_run:
        print_line(_found(plan))
    for note in plan.notes:
        print_line(note)
    if dry_run or slurm:
        _shard_on_slurm(plan, config, dry_run=dry_run, slurm=slurm)
    else:
        _shard_here(plan, shards)


def _root_of(request: ShardRequest, config: Config) -> Path:
    """The folder of the original videos: from the command, or else from kdbatch.toml."""
    dataset = request.dataset
    if dataset not in {**DATASETS, **config.datasets}:
        raise unknown_dataset(dataset, (*DATASETS, *config.datasets), where="shard")
    check_request(request)  # an impossible request is reported before a missing folder
    if not request.root and dataset not in config.datasets:
        raise UserError(
            f"{dataset}: the folder of the videos is not known. Add --root FOLDER, "
            f'or write into kdbatch.toml: [datasets.{dataset}] root = "FOLDER"'
        )
    return expand_home(request.root) if request.root else Path(config.datasets[dataset].root)


def _found(plan: ShardPlan) -> str:
    """The data set as it was found: title, classes and splits."""
    known = plan.known
    classes = f"{known.num_classes:,} classes" if known.num_classes else "no labels"
    splits = [f"{split} {known.num_videos[split]:,}" for split in known.part_of]
    return f"{known.name}: {known.title}, {classes}; videos: {', '.join(splits)}."


def _table_of(plan: ShardPlan, config: Config) -> Iterator[Path]:
    """The folder of the table that lists the videos, if there is one."""
    source = config.datasets.get(plan.dataset)
    if source and source.table:
        yield Path(source.table).absolute().parent


def _shard_here(plan: ShardPlan, shards: str) -> None:
    from kdbatch.shard.build import build_from_plan  # PyAV, as above

    part = f"{plan.dataset}/{plan.part}"
    chosen = parse_shard_range(shards, plan.num_shards) if shards else None
    again = plan.request.command + (f" --shards {shell_word(shards)}" if shards else "")

    def stopped() -> str:
        kept = plan.num_shards - len(plan.missing_shards())
        what = f"{kept} of {plural(plan.num_shards, 'shard')} of {part} are finished and kept"
        return f"stopped: {what}. Resume: {again}"

    with _line_on_interrupt(stopped), progress(f"shard {plan.dataset}") as report:
        built = build_from_plan(plan, shards=chosen, progress=report)
    if built.throughput.num_videos:
        print_line(f"{part}: {built.throughput}")
    if built.index is None:
        print_line(
            f"{part}: shards {shards} are complete; "
            f"index.json is written with the last of {plan.num_shards}."
        )
        return
    print_line(f"{part}: {_summary(built.index, plan)}")


@contextmanager
def _line_on_interrupt(line: Callable[[], str]) -> Iterator[None]:
    """Print a line after Ctrl-C: what is kept, and the command that goes on."""
    try:
        yield
    except KeyboardInterrupt:
        warn(line())
        raise


def _summary(index: ShardIndex, plan: ShardPlan) -> str:
    shards = index.parts[plan.part].shards
    videos = plural(sum(shard.num_videos for shard in shards), "video")
    gigabytes = sum(shard.num_bytes for shard in shards) / 1e9
    num_rejected = sum(shard.num_rejected for shard in shards)
    note = f"; {num_rejected} rejected, see rejected.parquet there" if num_rejected else ""
    return f"{videos} in {plural(len(shards), 'tar')}, {gigabytes:.3f} GB, in {plan.folder}/{note}"


def _shard_on_slurm(plan: ShardPlan, config: Config, *, dry_run: bool, slurm: bool) -> None:
    from kdbatch.launch.slurm.shard_array import (  # submitit, which no worker needs
        ShardArray,
        num_elements,
        submit_shard_array,
    )

    missing = plan.missing_shards()
    state = (
        f"{plan.dataset}/{plan.part}: {len(missing)} of {plan.num_shards} shards "
        f"for {plan.num_positions} videos are still to be made"
    )
    resume = f"{plan.request.command} --slurm"
    if not missing and not dry_run:
        with translate_write_errors(plan, resume=resume):
            write_index(plan)
    if not slurm or not missing:
        print_line(f"{state}.")
        return
    array = ShardArray(
        name=f"shard-{plan.dataset}-{plan.part}",
        arguments=plan.request.arguments,
        ranges=split_into_ranges(missing, num_elements(len(missing), config=config)),
        folder=plan.folder / "slurm" / plan.part,
        cwd=Path.cwd(),
        binds=(Path.cwd(), find_study(), config.shards_dir, plan.root, *_table_of(plan, config)),
    )
    if dry_run:
        print_line(f"{state}, by {plural(len(array.ranges), 'element')} of a SLURM array.")
        return
    prepare_container(config, on_this_machine=False, say=print_line)
    with translate_write_errors(plan, resume=resume):
        array.folder.mkdir(parents=True, exist_ok=True)
    job_ids = submit_shard_array(array, config=config)
    job = f"job {job_ids[0].partition('_')[0]} with {plural(len(job_ids), 'element')}"
    print_line(f"{state}: {job}. Watch it: squeue --me; its logs: {array.folder}/*.log")
