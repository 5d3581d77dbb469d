"""How often does `kdbatch shard overlap` miss a copy, and how often does it list another video?"""

import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from support.altered_videos import ALTERATIONS, Alteration, write_altered, write_sources
from support.inputs import REAL_CLIPS

from kdbatch.base.progress import silent
from kdbatch.shard.build import build_shards
from kdbatch.shard.overlap.find import Overlap, find_overlap
from kdbatch.shard.toy.size import ToySize
from kdbatch.shard.toy.write import write_toy
from kdbatch.vocab.shard_request import ShardRequest

NUM_TOY_CLASSES = 16


def overlap_table(num_toys: int) -> Iterator[str]:
    """The rows of a table: an excerpt of each video for each alteration, drawn and real videos
    apart. `num_toys` is rounded up to a multiple of 16.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        toys = _draw(folder / "toys", per_class=-(-num_toys // NUM_TOY_CLASSES))
        real = [path for path in sorted(REAL_CLIPS.glob("*")) if path.suffix in (".mp4", ".avi")]
        yield "| copy of a 3 s excerpt | drawn videos | real videos |"
        yield "| --- | --- | --- |"
        kinds = (("d", toys), ("r", real))
        found = [listed_copies(folder / kind, paths, ALTERATIONS) for kind, paths in kinds]
        for label, title in enumerate(ALTERATIONS):
            counts = (f"{right[label]} of {num}" for right, _, num in found)
            yield f"| {title} | {' | '.join(counts)} |"
        wrong = (f"{n} of {num * (num - 1) * len(ALTERATIONS):,}" for _, n, num in found)
        yield f"| *another video* | {' | '.join(wrong)} |"


def _draw(folder: Path, *, per_class: int) -> list[Path]:
    size = ToySize(k400_train=per_class, extra_frames=110)
    write_toy(folder, processes=1, progress=silent, size=size, datasets=["k400"])
    return sorted((folder / "k400" / "train").rglob("*.mp4"))


def listed_copies(
    folder: Path, sources: Sequence[Path], alterations: Mapping[str, Alteration]
) -> tuple[Counter[int], int, int]:
    """The numbers of copies that are listed, by alteration, of pairs that are no copies, and of
    sources.
    """
    if not sources:
        return Counter(), 0, 0
    write_sources(folder / "k400", sources)
    write_altered(folder / "ucf101", sources, alterations)
    for dataset in ("k400", "ucf101"):
        build_shards(
            ShardRequest(dataset=dataset, videos_per_shard=100),
            root=folder / dataset,
            shards_dir=folder / "shards",
            progress=silent,
        )
    right: Counter[int] = Counter()
    num_wrong = 0
    for source, label, copied in _pairs(_overlap(folder)):
        right[label] += source == copied
        num_wrong += source != copied
    return right, num_wrong, len(sources)


def _overlap(folder: Path) -> Overlap:
    return find_overlap(
        "k400", "ucf101", shards_dir=folder / "shards", processes=2, progress=silent
    )


def _pairs(result: Overlap) -> Iterator[tuple[int, int, int]]:
    """(source, alteration, source of the copy) of each pair, from the names of the videos."""
    for pair in result.found.pairs:
        source = int(pair.video.rpartition("/source")[2][:5])
        label, group = pair.same_as.rpartition("altered")[2].split("_")[:2]
        yield source, int(label), int(group[1:]) - 1
