"""The toy data sets in their published layouts: every video, and the text of every list file."""

import json
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from kdbatch.shard.toy.scene import APPEARANCES, MOTIONS
from kdbatch.shard.toy.size import ToySize


@dataclass(frozen=True, kw_only=True)
class ToyVideo:
    """A video to be made: its path below the toy folder, its content, and its group.

    Videos of one group share a scene; "" is a scene of its own.
    """

    path: str
    dataset: str
    appearance: str
    motion: str
    group: str = ""


Layout = tuple[list[ToyVideo], dict[str, str]]
"""The videos, and the text of each list file by its path."""


def layouts_of(datasets: Collection[str], size: ToySize, seed: int) -> Layout:
    """The layouts of these data sets in one."""
    videos: list[ToyVideo] = []
    texts: dict[str, str] = {}
    layouts = {"k400": _k400, "ssv2": _ssv2, "ucf101": _ucf101, "hmdb51": _hmdb51}
    for name in filter(datasets.__contains__, layouts):
        more_videos, more_texts = layouts[name](size, seed)
        videos += more_videos
        texts.update(more_texts)
    return videos, texts


def _classes(nouns: tuple[str, ...], size: ToySize) -> list[tuple[str, str]]:
    """(appearance, motion) of every class."""
    return [(noun, motion) for motion in list(MOTIONS)[: size.num_motions] for noun in nouns]


def _k400(size: ToySize, seed: int) -> Layout:
    """Class folders with spaces; files named by a YouTube id (11 characters) and cut times."""
    videos = []
    alphabet = np.array(list("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"))
    rng = np.random.default_rng([seed, 400])
    for noun, motion in _classes(tuple(APPEARANCES), size):
        name = f"{motion} {APPEARANCES[noun].adjective} {noun}"
        for part, count in (("train", size.k400_train), ("val", size.k400_val)):
            for _ in range(count):
                youtube, start = "".join(rng.choice(alphabet, 11)), int(rng.integers(0, 200))
                path = f"k400/{part}/{name}/{youtube}_{start:06d}_{start + 10:06d}.mp4"
                videos.append(ToyVideo(path=path, dataset="k400", appearance=noun, motion=motion))
    return videos, {}


def _ssv2(size: ToySize, seed: int) -> Layout:
    """Numbered files in one folder; a class is a template without the name of the object."""
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


def _ucf101(size: ToySize, seed: int) -> Layout:
    """Clips of a group share their scene. Each of the three folds tests a third of them."""
    classes = sorted(
        (f"{motion.capitalize()}{noun.capitalize()}", noun, motion)
        for noun, motion in _classes(tuple(APPEARANCES)[: size.ucf101_nouns], size)
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
        for group in range(1, size.ucf101_groups + 1):
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
                    is_test = -(-group // (size.ucf101_groups // 3)) == fold
                    texts[f"{lists}/{'test' if is_test else 'train'}list0{fold}.txt"] += line + (
                        "\n" if is_test else f" {number}\n"
                    )
    return videos, texts


def _hmdb51(size: ToySize, seed: int) -> Layout:
    """Class folders; file names have the punctuation and accents of real ones; tags of 3 folds.

    The tags are 1 train, 2 test, 0 unused.
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
            rotated = tags[fold - 1 :] + tags[: fold - 1]
            lines = "".join(f"{file} {tag} \n" for file, tag in zip(files, rotated, strict=True))
            texts[f"hmdb51/testTrainMulti_7030_splits/{name}_test_split{fold}.txt"] = lines
    return videos, texts
