"""Makes temporary shards of the videos of any folder, to measure with."""

from collections.abc import Sequence
from pathlib import Path

from kdbatch.base.errors import UserError
from kdbatch.base.progress import Progress
from kdbatch.shard.build import build_shards
from kdbatch.shard.datasets.folders import is_hidden
from kdbatch.shard.index import TooManyRejected
from kdbatch.shard.sources import VIDEO_SUFFIXES
from kdbatch.vocab.shard_request import ShardRequest
from kdbatch.vocab.shards.index import Sample, load_index
from kdbatch.vocab.shards.subset import find_subset, load_samples


def find_videos_below(folder: Path) -> list[Path]:
    """Every video in a folder and its subfolders, sorted by path.

    Raises:
        UserError: there is none.
    """
    paths = sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in VIDEO_SUFFIXES
        and not any(map(is_hidden, path.relative_to(folder).parts))
        and path.is_file()
    )
    if not paths:
        raise UserError(
            f"{folder}: holds no video ({' '.join(sorted(VIDEO_SUFFIXES))}). Name a folder of "
            "original videos."
        )
    return paths


def shard_videos(
    paths: Sequence[Path], folder: Path, *, processes: int, progress: Progress
) -> list[tuple[Path, Sample]]:
    """Store videos as `kdbatch shard` does; returns the tar and record of each, in order.

    The videos are laid out as one class of Kinetics-400, whose file names consist of an id of
    eleven characters and two times.

    Raises:
        UserError: a video is broken.
    """
    path_of = {
        f"train/any/loose{number:06d}_000000_000010{path.suffix}": path
        for number, path in enumerate(paths)
    }
    root, shards_dir = folder / "k400", folder / "shards"
    for name, path in path_of.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).symlink_to(path.resolve())
    try:
        build_shards(
            ShardRequest(dataset="k400", max_rejected=0.0, processes=processes),
            root=root,
            shards_dir=shards_dir,
            progress=progress,
        )
    except TooManyRejected as error:
        raise UserError(
            f"{path_of[error.first.path]}: {error.first.reason}. Take it out of the folder."
        ) from error
    subset = find_subset(load_index(shards_dir, "k400"), "train", "all", where=str(folder))
    return sorted(load_samples(shards_dir, subset), key=lambda stored: stored[1].key)
