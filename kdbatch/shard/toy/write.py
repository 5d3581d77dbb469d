"""`kdbatch toy`: writes small procedural stand-ins of the four data sets, as real videos.

They have the published layouts and codecs. toy/scene.py describes what they show and what a network
can learn from them.
"""

import dataclasses
import math
import zlib
from collections.abc import Iterable
from functools import partial
from pathlib import Path

import numpy as np

from kdbatch.base.atomic_write import atomic_write, load_json, write_json, write_text
from kdbatch.base.errors import UserError
from kdbatch.base.progress import Progress
from kdbatch.shard.pool import map_parallel
from kdbatch.shard.toy.encode import CODECS, encode_video
from kdbatch.shard.toy.layouts import ToyVideo, layouts_of
from kdbatch.shard.toy.scene import SCENE_FPS, Scene, draw_frames
from kdbatch.shard.toy.size import ToySize
from kdbatch.vocab.datasets import DATASETS

_LONG = ("k400", "ssv2")
_MARKER = "toy.json"


def write_toy(
    folder: Path,
    *,
    seed: int = 0,
    processes: int,
    progress: Progress,
    size: ToySize | None = None,
    datasets: Iterable[str] = tuple(DATASETS),
) -> None:
    """Write stand-ins of `datasets` and a `kdbatch.toml` below `folder`; equal seeds give equal
    bytes.

    A call after an interruption continues where it stopped; one for other data sets adds them.

    Raises:
        UserError: the folder holds something else, or toys of another seed or size.
    """
    size = size or ToySize()
    wanted = {"seed": seed, "size": dataclasses.asdict(size)}
    begun, finished = _begun_datasets(folder, wanted)
    if finished and begun.issuperset(datasets):
        return
    begun |= set(datasets)
    marker = {**wanted, "datasets": sorted(begun)}
    write_json(folder / _MARKER, {**marker, "finished": False})
    videos, texts = layouts_of(begun, size, seed)
    for path, text in texts.items():
        write_text(folder / path, text)
    missing = [video for video in videos if not (folder / video.path).exists()]
    make = partial(_make_video, folder=folder, seed=seed, size=size)
    paths = map_parallel(make, missing, processes=processes)
    for num_done, path in enumerate(paths, len(videos) - len(missing) + 1):
        progress(num_done, len(videos), path)
    if not (folder / "kdbatch.toml").exists():
        config = "".join(f'[datasets.{name}]\nroot = "{name}"\n\n' for name in DATASETS)
        write_text(folder / "kdbatch.toml", config)
    write_json(folder / _MARKER, {**marker, "finished": True})


def _begun_datasets(folder: Path, wanted: dict[str, object]) -> tuple[set[str], bool]:
    """The data sets whose toys `folder` holds, and whether they are complete.

    Raises:
        UserError: it holds other files or other toys.
    """
    marker = folder / _MARKER
    if not marker.exists():
        taken = [name for name in DATASETS if (folder / name).exists()]
        if taken or (folder.exists() and not folder.is_dir()):
            raise UserError(
                f"{folder}: holds {taken[0] if taken else 'a file'}, "
                "which is not toy videos. Choose a new folder."
            )
        return set(), False
    found = load_json(marker)
    if not isinstance(found, dict) or {key: found.get(key) for key in wanted} != wanted:
        raise UserError(
            f"{folder}: holds toy videos of another seed or size. "
            "Choose a new folder, or delete this one."
        )
    return set(found.get("datasets", DATASETS)), found.get("finished") is True


def _make_video(video: ToyVideo, *, folder: Path, seed: int, size: ToySize) -> str:
    """Draw and encode one video, in a worker process; return its path."""
    codec = CODECS[video.dataset]
    video_seed = zlib.crc32(f"{seed}/{video.path}".encode())
    group_seed = video_seed
    if video.group:
        group_seed = zlib.crc32(f"{seed}/{video.dataset}/{video.group}".encode())
    rng = np.random.default_rng([video_seed, 2])
    num_frames = int(rng.integers(size.min_frames, size.max_frames + 1))
    if video.dataset in _LONG:
        num_frames += size.extra_frames
    scene = Scene(
        appearance=video.appearance,
        motion=video.motion,
        style="light" if video.dataset == "ssv2" else "dark",
        group_seed=group_seed,
        video_seed=video_seed,
        num_frames=math.ceil(num_frames * codec.fps / SCENE_FPS),
        width=codec.width,
        height=codec.height,
        fps=codec.fps,
    )
    frames = draw_frames(scene)
    atomic_write(folder / video.path, partial(encode_video, codec=codec, frames=frames))
    return video.path
