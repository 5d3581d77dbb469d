"""Videos of any folder as shards of their own, to measure with."""

from collections.abc import Sequence
from pathlib import Path

from kdbatch.shard.build import build_shards
from kdbatch.shard.sources import VIDEO_SUFFIXES
from kdbatch.vocab.errors import UserError
from kdbatch.vocab.progress import Progress
from kdbatch.vocab.shards import Sample, find_subset, load_index, load_samples


def videos_below(folder: Path) -> list[Path]:
    """Every video in a folder and the folders in it, by name.

    Raises:
        UserError: there is none.
    """
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in VIDEO_SUFFIXES and path.is_file())
    if not paths:
        raise UserError(f"{folder}: holds no video ({' '.join(sorted(VIDEO_SUFFIXES))}). Name a folder of original videos.")
    return paths


def shard_loose(paths: Sequence[Path], folder: Path, *, processes: int, progress: Progress) -> list[tuple[Path, Sample]]:
    """The videos as `kdbatch shard` stores them: tar and record of each, in the order of `paths`.

    They are laid out as one class of Kinetics-400, whose files are named by an id of eleven characters and two times.

    Raises:
        UserError: a video is broken.
    """
    for number, path in enumerate(paths):
        link = folder / "k400" / "train" / "any" / f"loose{number:06d}_000000_000010{path.suffix}"
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(path.resolve())
    shards_dir = folder / "shards"
    build_shards("k400", root=folder / "k400", shards_dir=shards_dir, max_rejected=0.0, processes=processes, progress=progress)
    stored = load_samples(shards_dir, find_subset(load_index(shards_dir, "k400"), "train", "all", where=str(folder)))
    return sorted(stored, key=lambda found: found[1].key)
