"""`kdbatch toy`: small procedural stand-ins of the four data sets, as real videos in their
published layouts and codecs.

What they show, and what a network can learn from them, is in toy_scene.py.
"""

import dataclasses
import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path

import av
import numpy as np

from kdbatch.base.atomic_write import atomic_write, load_json, write_json, write_text
from kdbatch.base.errors import UserError
from kdbatch.base.progress import Progress
from kdbatch.shard.pool import map_parallel
from kdbatch.shard.toy.scene import APPEARANCES, MOTIONS, Scene, draw_frames
from kdbatch.shard.toy.size import ToySize
from kdbatch.vocab.datasets import DATASETS

FPS = 25
LONG = ("k400", "ssv2")
MARKER = "toy.json"


@dataclass(frozen=True, kw_only=True)
class Codec:
    """How a data set's owner stores videos, with presets made for speed."""

    encoder: str
    container: str
    options: dict[str, str]
    width: int
    height: int


CODECS: dict[str, Codec] = {
    "k400": Codec(
        encoder="libx264",
        container="mp4",
        options={
            "preset": "veryfast",
            "crf": "18",
            "threads": "1",
            "x264-params": "cpu-independent=1",
        },
        width=176,
        height=132,
    ),
    "ssv2": Codec(
        encoder="libvpx-vp9",
        container="webm",
        options={
            "deadline": "realtime",
            "cpu-used": "8",
            "crf": "24",
            "b": "0",
            "threads": "1",
            "row-mt": "0",
        },
        width=176,
        height=132,
    ),
    "ucf101": Codec(
        encoder="mpeg4",
        container="avi",
        options={"b": "1200k", "g": "12", "threads": "1"},
        width=172,
        height=128,
    ),
    "hmdb51": Codec(
        encoder="mpeg4",
        container="avi",
        options={"b": "1200k", "g": "12", "threads": "1"},
        width=192,
        height=144,
    ),
}


@dataclass(frozen=True, kw_only=True)
class ToyVideo:
    """A video to be made: where (below the folder), what it shows, and the scene's group ("" for a
    scene of its own).
    """

    path: str
    dataset: str
    appearance: str
    motion: str
    group: str = ""


def write_toy(
    folder: Path, *, seed: int = 0, processes: int, progress: Progress, size: ToySize | None = None
) -> None:
    """Write all four stand-ins and a `kdbatch.toml` below `folder`; equal seeds give equal bytes.
    Goes on where a killed one stopped.

    Raises:
        UserError: the folder holds something else, or toys of another seed.
    """
    size = size or ToySize()
    wanted = {"seed": seed, "size": dataclasses.asdict(size)}
    if _is_finished(folder, wanted):
        return
    write_json(folder / MARKER, {**wanted, "finished": False})
    videos, texts = _everything(size, seed)
    for path, text in texts.items():
        write_text(folder / path, text)
    missing = [video for video in videos if not (folder / video.path).exists()]
    done = len(videos) - len(missing)
    for path in map_parallel(
        partial(_make, folder=folder, seed=seed, size=size), missing, processes=processes
    ):
        done += 1
        progress(done, len(videos), path)
    if not (folder / "kdbatch.toml").exists():
        write_text(
            folder / "kdbatch.toml",
            "".join(f'[datasets.{name}]\nroot = "{name}"\n\n' for name in DATASETS),
        )
    write_json(folder / MARKER, {**wanted, "finished": True})


def _is_finished(folder: Path, wanted: dict[str, object]) -> bool:
    """True where `folder` holds exactly these toys, False where they are still to be made."""
    marker = folder / MARKER
    if not marker.exists():
        taken = [name for name in DATASETS if (folder / name).exists()]
        if taken or (folder.exists() and not folder.is_dir()):
            raise UserError(
                f"{folder}: holds {taken[0] if taken else 'a file'}, which kdbatch toy did not make. Choose a new folder."
            )
        return False
    found = load_json(marker)
    if not isinstance(found, dict) or {key: found.get(key) for key in wanted} != wanted:
        raise UserError(
            f"{folder}: holds toy videos of another seed or size. Choose a new folder, or delete this one."
        )
    return found.get("finished") is True


def _make(video: ToyVideo, *, folder: Path, seed: int, size: ToySize) -> str:
    """Draw and encode one video."""
    codec = CODECS[video.dataset]
    moment = zlib.crc32(f"{seed}/{video.path}".encode())
    extra = size.extra_frames if video.dataset in LONG else 0
    place = zlib.crc32(f"{seed}/{video.dataset}/{video.group}".encode()) if video.group else moment
    scene = Scene(
        appearance=video.appearance,
        motion=video.motion,
        style="light" if video.dataset == "ssv2" else "dark",
        group_seed=place,
        video_seed=moment,
        num_frames=int(
            np.random.default_rng([moment, 2]).integers(size.min_frames, size.max_frames + 1)
        )
        + extra,
        width=codec.width,
        height=codec.height,
    )
    atomic_write(folder / video.path, partial(_encode, codec=codec, frames=draw_frames(scene)))
    return video.path


def _encode(path: Path, *, codec: Codec, frames: Iterator[np.ndarray]) -> None:
    """Bit-exact flags keep dates, random ids and library versions out of the file."""
    with av.open(
        str(path), "w", format=codec.container, options={"fflags": "+bitexact"}
    ) as container:
        stream = container.add_stream(
            codec.encoder, rate=FPS, options={**codec.options, "flags": "+bitexact"}
        )
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = codec.width, codec.height, "yuv420p"
        for index, frame_HW3 in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(frame_HW3, format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, FPS)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def _everything(size: ToySize, seed: int) -> tuple[list[ToyVideo], dict[str, str]]:
    """All videos, and the text of every list file by its path."""
    videos, texts = [], {}
    for layout in (_k400, _ssv2, _ucf101, _hmdb51):
        more_videos, more_texts = layout(size, seed)
        videos += more_videos
        texts.update(more_texts)
    return videos, texts


def _classes(nouns: tuple[str, ...], size: ToySize) -> list[tuple[str, str]]:
    """(appearance, motion) of every class."""
    return [(noun, motion) for motion in list(MOTIONS)[: size.num_motions] for noun in nouns]


def _k400(size: ToySize, seed: int) -> tuple[list[ToyVideo], dict[str, str]]:
    """Class folders with spaces; files named by a YouTube id (11 characters) and the seconds that
    were cut out.
    """
    videos = []
    alphabet = np.array(list("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"))
    chance = np.random.default_rng([seed, 400])
    for noun, motion in _classes(tuple(APPEARANCES), size):
        name = f"{motion} {APPEARANCES[noun].adjective} {noun}"
        for part, count in (("train", size.k400_train), ("val", size.k400_val)):
            for _ in range(count):
                youtube, start = "".join(chance.choice(alphabet, 11)), int(chance.integers(0, 200))
                path = f"k400/{part}/{name}/{youtube}_{start:06d}_{start + 10:06d}.mp4"
                videos.append(ToyVideo(path=path, dataset="k400", appearance=noun, motion=motion))
    return videos, {}


def _ssv2(size: ToySize, seed: int) -> tuple[list[ToyVideo], dict[str, str]]:
    """Numbered files in one folder; a class is a template that says nothing of the thing's name."""
    kinds = {"ball": "that is round", "box": "that has corners"}
    videos: list[ToyVideo] = []
    records: dict[str, list[dict[str, object]]] = {"train": [], "validation": []}
    classes = _classes(tuple(kinds), size)
    for noun, motion in classes:
        for part, count in (("train", size.ssv2_train), ("validation", size.ssv2_validation)):
            for _ in range(count):
                number = str(1001 + 7 * len(videos))
                thing, template = f"a {noun}", f"{motion.capitalize()} [something] {kinds[noun]}"
                label = f"{motion} {thing} {kinds[noun]}"
                records[part].append(
                    {"id": number, "label": label, "template": template, "placeholders": [thing]}
                )
                path = f"ssv2/20bn-something-something-v2/{number}.webm"
                videos.append(ToyVideo(path=path, dataset="ssv2", appearance=noun, motion=motion))
    names = sorted(f"{motion.capitalize()} something {kinds[noun]}" for noun, motion in classes)
    texts = {
        f"ssv2/labels/{part}.json": json.dumps(record, indent=0) for part, record in records.items()
    }
    texts["ssv2/labels/labels.json"] = json.dumps(
        {name: str(i) for i, name in enumerate(names)}, indent=0
    )
    return videos, texts


def _ucf101(size: ToySize, seed: int) -> tuple[list[ToyVideo], dict[str, str]]:
    """Clips of a group share their scene; fold f tests groups 2f-1 and 2f of six."""
    classes = sorted(
        (f"{motion.capitalize()}{noun.capitalize()}", noun, motion)
        for noun, motion in _classes(("ball", "box"), size)
    )
    lists = "ucf101/ucfTrainTestlist"
    texts = {
        f"{lists}/classInd.txt": "".join(
            f"{i} {name}\r\n" for i, (name, _, _) in enumerate(classes, 1)
        )
    }
    texts.update(
        {f"{lists}/{kind}list0{fold}.txt": "" for fold in (1, 2, 3) for kind in ("train", "test")}
    )
    videos = []
    for number, (name, noun, motion) in enumerate(classes, 1):
        for group in range(1, 7):
            for clip in range(1, size.ucf101_clips_per_group + 1):
                line = f"{name}/v_{name}_g{group:02d}_c{clip:02d}.avi"
                videos.append(
                    ToyVideo(
                        path=f"ucf101/UCF-101/{line}",
                        dataset="ucf101",
                        appearance=noun,
                        motion=motion,
                        group=f"{name}{group}",
                    )
                )
                for fold in (1, 2, 3):
                    is_test = group in (2 * fold - 1, 2 * fold)
                    texts[f"{lists}/{'test' if is_test else 'train'}list0{fold}.txt"] += line + (
                        "\n" if is_test else f" {number}\n"
                    )
    return videos, texts


def _hmdb51(size: ToySize, seed: int) -> tuple[list[ToyVideo], dict[str, str]]:
    """Class folders; file names keep the marks of the films that they were cut from; tags 1 train,
    2 test, 0 unused.
    """
    films = (
        "Kötü_Film",
        "trailer_(2)",
        "#1_Clips!",
        "SomeMovie",
        "A&B_part;2",
        "x[1]",
        "Long-Title",
    )
    count = size.hmdb51_train + size.hmdb51_test + size.hmdb51_unused
    tags = [1] * size.hmdb51_train + [2] * size.hmdb51_test + [0] * size.hmdb51_unused
    videos, texts = [], {}
    for noun, motion in _classes(("cone", "cross"), size):
        name = f"{motion}_{noun}"
        files = [f"{films[i % len(films)]}_{name}_f_cm_np1_fr_med_{i}.avi" for i in range(count)]
        videos += [
            ToyVideo(
                path=f"hmdb51/hmdb51_org/{name}/{f}",
                dataset="hmdb51",
                appearance=noun,
                motion=motion,
            )
            for f in files
        ]
        for fold in (1, 2, 3):
            turned = tags[fold - 1 :] + tags[: fold - 1]
            lines = "".join(f"{file} {tag} \n" for file, tag in zip(files, turned, strict=True))
            texts[f"hmdb51/testTrainMulti_7030_splits/{name}_test_split{fold}.txt"] = lines
    return videos, texts
