"""`kdbatch.open_shards`: the videos of shards as a webdataset pipeline of decoded clips.

It is for training loops outside of kdbatch. kdbatch's own runs read single packets of videos in any
order (run/data/batches.py); this reads tars from start to end, as webdataset does. Labels and
offsets are those of the shards' records, not those in the tars, for which nothing vouches.

Axes: C = 3 colours, T frames, H rows, W columns; uint8.
"""

import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from webdataset.cache import StreamingOpen
from webdataset.compat import WebDataset
from webdataset.utils import pytorch_worker_info

from kdbatch.base.command_lines import verify_command
from kdbatch.base.errors import UserError
from kdbatch.base.folders.presence import is_present
from kdbatch.base.reading.regular_files import open_regular
from kdbatch.base.text import plural
from kdbatch.run.data.decoding.decode import decode_members
from kdbatch.run.data.sampling import evenly_spaced_clips, random_clip
from kdbatch.run.rng import rng_for, seed_for
from kdbatch.vocab.datasets import shares_part
from kdbatch.vocab.shards.index import Sample, ShardIndex, load_index, load_indexed_record
from kdbatch.vocab.shards.subset import Subset, find_subset, request_like, shards_of
from kdbatch.vocab.views import View


def open_shards(
    folder: str | Path,
    split: str,
    *,
    subset: str = "all",
    num_frames: int = 16,
    stride_frames: int = 2,
    fps: float = 25.0,
    crop_pixels: int = 0,
    seed: int | None = None,
    shuffle_videos: int = 100,
) -> WebDataset:
    """A `webdataset.WebDataset` with one decoded clip per stored video of a split.

    Its samples are dictionaries: `clip` is a uint8 tensor (C, T, H, W), the order of `nn.Conv3d`;
    `label` an int and `class` its name; `frames` the numbers (T) of the stored frames; `__key__`
    the video and `__url__` its tar. It goes into torch's DataLoader, and has webdataset's methods,
    such as `map` and `batched`.

    A clip has `num_frames` frames that are `stride_frames` apart at `fps` frames per second; a
    shorter video is looped. `crop_pixels` cuts a square of that side; 0 keeps the whole frame,
    whose size differs between videos.

    Without a `seed` clips come in stored order, from the middle of their videos and frames. With
    one, places are random, tars are shuffled, and each worker shuffles its videos in a buffer of
    `shuffle_videos`. Equal seeds give equal clips whatever the number of workers, and an equal
    order for an equal number: open the shards with another seed for each epoch.

    Ranks (RANK and WORLD_SIZE, or torch.distributed when this is called) and DataLoader workers
    each read tars of their own. Their numbers of clips may differ.

    Args:
        folder: a data set in the folder of shards, such as `shards/k400`.
        split: a published split, such as `train`, `val` or `train01`.
        subset: the first videos of the split, such as `50k` or `10%`; `all` means all stored ones.

    Raises:
        UserError: the shards or the split are missing, or there are fewer tars than ranks. A
            damaged video raises it when it is read.
    """
    folder = Path(folder).absolute()
    index = _load_index(folder)
    videos = find_subset(index, split, _size(index, split, subset), where=str(folder))
    tars = _tars(folder, index, videos)
    rank, num_ranks, _, _ = pytorch_worker_info()
    if len(tars) < num_ranks:
        raise UserError(
            f"{folder}: {videos.title} has {plural(len(tars), 'tar')} for {num_ranks} ranks. Use "
            "fewer ranks, or store fewer videos in each tar, with a lower --videos-per-shard."
        )
    if seed is not None:
        tars = [tars[i] for i in rng_for(seed, "tars").permutation(len(tars))]
    view = View(num_frames=num_frames, stride_frames=stride_frames, fps=fps)
    dataset = WebDataset(
        tars,
        shardshuffle=False,
        nodesplitter=partial(_tars_of_rank, rank=rank, num_ranks=num_ranks),
        empty_check=False,  # a worker may have no tar
    )
    # webdataset's own stages take paths for URLs, which must not have a #, and believe what is in
    # a tar: a damaged header would end it early, in silence.
    stages = dataset.pipeline
    opens = next(i for i, stage in enumerate(stages) if isinstance(stage, StreamingOpen))
    dataset.pipeline = [*stages[:opens], partial(_stored_videos, index=index, subset=videos)]
    if seed is not None:  # before decoding: a clip is larger than its video
        buffer_seed = seed_for(seed, "videos", rank)
        dataset = dataset.shuffle(shuffle_videos, initial=shuffle_videos, seed=buffer_seed)
    dataset = dataset.map(_ReadClip(view=view, crop_pixels=crop_pixels, seed=seed))
    assert isinstance(dataset, WebDataset)
    return dataset


def _load_index(folder: Path) -> ShardIndex:
    if not is_present(folder / "index.json"):
        found = sorted(path.parent for path in folder.glob("*/index.json"))
        example = found[0] if found else "shards/k400"
        raise UserError(f"{folder}: is not a sharded data set. Name its folder, as {example}")
    return load_index(folder.parent, folder.name)


def _size(index: ShardIndex, split: str, subset: str) -> str:
    """`subset` as `find_subset` takes it, for which `all` is every video of the source."""
    part = index.parts.get(index.part_names.get(split, ""))
    if subset != "all" or part is None or shares_part(index.part_names, split):
        return subset
    return str(part.num_places)


def _tars(folder: Path, index: ShardIndex, videos: Subset) -> list[str]:
    tars = [folder / shard.name for shard in shards_of(index, videos)]
    if missing := [tar for tar in tars if not is_present(tar)]:
        part = index.part_names[videos.split]
        again = request_like(index, part, subset=index.parts[part].num_places)
        number = f"{len(missing)} of {plural(len(tars), 'tar')}"
        raise UserError(f"{missing[0]}: {number} missing. Make them again: {again.command}")
    return list(map(str, tars))


def _tars_of_rank(
    tars: Iterable[dict[str, Any]], *, rank: int, num_ranks: int
) -> Iterator[dict[str, Any]]:
    """Every `num_ranks`-th tar. A spawned worker knows no process group: the numbers are passed."""
    _, num_ranks_now, _, _ = pytorch_worker_info()
    if num_ranks_now not in (1, num_ranks):
        raise UserError(
            f"open_shards was called with {plural(num_ranks, 'rank')}, but there are "
            f"{num_ranks_now}. Call it after torch.distributed.init_process_group"
        )
    return islice(tars, rank, None, num_ranks)


def _stored_videos(
    tars: Iterable[dict[str, Any]], *, index: ShardIndex, subset: Subset
) -> Iterator[dict[str, Any]]:
    """The Sample and the bytes of each video of the subset, as the records of the tars have them,
    for which the index vouches.
    """
    shard_of = {shard.name: shard for shard in shards_of(index, subset)}
    for tar in tars:
        path = Path(tar["url"])
        record = load_indexed_record(path.parent, shard_of[path.name])
        with open_regular(path) as file:
            for sample in record.samples:
                is_within = not subset.num_places or sample.place < subset.num_places
                if is_within and subset.split in sample.splits:
                    yield _stored_video(file, sample, tar=path, classes=index.classes)


def _stored_video(
    file: BinaryIO, sample: Sample, *, tar: Path, classes: Sequence[str]
) -> dict[str, Any]:
    file.seek(sample.offset)
    video = file.read(sample.num_bytes)
    file.seek(sample.index_offset)
    packet_index = file.read(sample.index_bytes)
    if zlib.crc32(video) != sample.crc32:
        raise UserError(
            f"{tar}: {sample.key} cannot be read as a video (its checksum is wrong). See how to "
            f"repair it: {verify_command(tar.parent.name)}"
        )
    return {
        "__key__": sample.key,
        "__url__": str(tar),
        "sample": sample,
        "class": classes[sample.label],
        "video": video,
        "index": packet_index,
    }


@dataclass(frozen=True, kw_only=True)
class _ReadClip:
    """Decodes the clip of a video. It is an object, not a closure, as workers may be spawned."""

    view: View
    crop_pixels: int
    seed: int | None

    def __call__(self, stored: dict[str, Any]) -> dict[str, Any]:
        sample: Sample = stored["sample"]
        rng = None if self.seed is None else rng_for(self.seed, "clip", sample.key)
        if rng is None:
            request = evenly_spaced_clips(sample, self.view, 1)
        else:
            request = random_clip(sample, self.view, rng)
        frame_T = request.frame_VT[0]
        clip_THWC = decode_members(
            stored["video"], stored["index"], sample, frame_T.tolist(), tar=Path(stored["__url__"])
        )
        clip_THWC = self._crop(clip_THWC, rng, where=f"{stored['__url__']}: {sample.key}")
        return {
            "__key__": stored["__key__"],
            "__url__": stored["__url__"],
            "clip": torch.from_numpy(clip_THWC).permute(3, 0, 1, 2),
            "label": sample.label,
            "class": stored["class"],
            "frames": torch.from_numpy(frame_T),
        }

    def _crop(
        self, clip_THWC: np.ndarray, rng: np.random.Generator | None, *, where: str
    ) -> np.ndarray:
        side, (height, width) = self.crop_pixels, clip_THWC.shape[1:3]
        if not side:
            return clip_THWC
        if side > min(height, width):
            raise UserError(f"{where} is {width}x{height}, too small for crop_pixels={side}")
        top, left = (height - side) // 2, (width - side) // 2
        if rng is not None:
            top, left = (int(rng.integers(size - side + 1)) for size in (height, width))
        return np.ascontiguousarray(clip_THWC[:, top : top + side, left : left + side])
