"""Videos of one data set, and altered excerpts of them in the layout of another.

Axes: T frames, H rows, W columns, C = 3 colours; uint8.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from kdbatch.base.pyav import tolerant_open

Picture = Callable[[np.ndarray, np.random.Generator], np.ndarray]
EXCERPT_SECONDS = 3.0


@dataclass(frozen=True, kw_only=True)
class Alteration:
    """How an excerpt differs from its source: its pictures (TC of T frames), its coding, its rate,
    and whether it begins later.
    """

    change: Picture = lambda clip_THWC, rng: clip_THWC
    crf: int = 23
    rate_factor: Fraction = Fraction(1)
    begins_later: bool = True


def _crop(share: float) -> Picture:
    """A part of the picture at a random place, with `share` of its height and width."""

    def cut(clip_THWC: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        height, width = clip_THWC.shape[1:3]
        rows, columns = round(share * height), round(share * width)
        top, left = rng.integers(height - rows + 1), rng.integers(width - columns + 1)
        return clip_THWC[:, top : top + rows, left : left + columns]

    return cut


def _scale(to: Callable[[int, int], tuple[int, int]]) -> Picture:
    def scale(clip_THWC: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        height, width = to(*clip_THWC.shape[1:3])
        frames = (av.VideoFrame.from_ndarray(np.ascontiguousarray(f)) for f in clip_THWC)
        return np.stack([f.reformat(width, height).to_ndarray(format="rgb24") for f in frames])

    return scale


def _bars(clip_THWC: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Black bars above and below, a sixth of the picture's height each."""
    bar = clip_THWC.shape[1] // 6
    return np.pad(clip_THWC, ((0, 0), (bar, bar), (0, 0), (0, 0)))


def _light(clip_THWC: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Less contrast, and brighter."""
    return (0.7 * clip_THWC + 60).clip(0, 255).astype(np.uint8)


def _logo(clip_THWC: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A white rectangle in a corner, 15 % of the height and 25 % of the width."""
    marked_THWC = clip_THWC.copy()
    height, width = clip_THWC.shape[1:3]
    marked_THWC[:, : round(0.15 * height), -round(0.25 * width) :] = 255
    return marked_THWC


def _in_turn(*changes: Picture) -> Picture:
    def change(clip_THWC: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        for one in changes:
            clip_THWC = one(clip_THWC, rng)
        return clip_THWC

    return change


_half = _scale(lambda height, width: (height // 4 * 2, width // 4 * 2))

ALTERATIONS: dict[str, Alteration] = {
    "encoded again, crf 38": Alteration(crf=38, begins_later=False),
    "begins later": Alteration(),
    "30 frames/s of 25": Alteration(rate_factor=Fraction(6, 5)),
    "half the size": Alteration(change=_half),
    "squeezed to 4:3": Alteration(change=_scale(lambda h, w: (h // 2 * 2, h * 2 // 3 * 2))),
    "black bars": Alteration(change=_bars),
    "brighter, less contrast": Alteration(change=_light),
    "a logo": Alteration(change=_logo),
    "cropped to 95 %": Alteration(change=_crop(0.95)),
    "cropped to 90 %": Alteration(change=_crop(0.9)),
    "cropped to 80 %": Alteration(change=_crop(0.8)),
    "mirrored": Alteration(change=lambda clip_THWC, rng: clip_THWC[:, :, ::-1]),
    "95 %, half size, crf 33": Alteration(change=_in_turn(_crop(0.95), _half), crf=33),
}

FOUND = {
    name: ALTERATIONS[name]
    for name in ("encoded again, crf 38", "begins later", "cropped to 95 %", "mirrored")
}
"""Alterations of which every one is found."""
NUM_COPIED = 2
"""Sources with copies, of those of a test; the others have none."""


def write_sources(root: Path, sources: Sequence[Path]) -> None:
    """Copy videos into Kinetics' layout: the source number i has an id that ends in i."""
    folder = root / "train" / "everything"
    folder.mkdir(parents=True)
    for number, source in enumerate(sources):
        name = f"source{number:05d}_000000_000010{source.suffix}"
        (folder / name).write_bytes(source.read_bytes())


def write_altered(
    root: Path, sources: Sequence[Path], alterations: Mapping[str, Alteration], *, seed: int = 0
) -> None:
    """Write an excerpt of each source for each alteration, in UCF101's layout.

    The class is the number of the alteration, and the group that of the source, from 1 on.
    """
    (root / "ucfTrainTestlist").mkdir(parents=True)
    names = []
    for label, alteration in enumerate(alterations.values()):
        for number, source in enumerate(sources):
            name = f"Altered{label}/v_Altered{label}_g{number + 1:02d}_c01.avi"
            (root / "UCF-101" / name).parent.mkdir(parents=True, exist_ok=True)
            rng = np.random.default_rng([seed, label, number])
            _write_excerpt(root / "UCF-101" / name, source, alteration, rng)
            names.append((name, label + 1))
    lists = root / "ucfTrainTestlist"
    classes = "".join(f"{i + 1} Altered{i}\n" for i in range(len(alterations)))
    (lists / "classInd.txt").write_text(classes)
    for fold in ("01", "02", "03"):
        train = "".join(f"{name} {label}\n" for name, label in names[:1])
        (lists / f"trainlist{fold}.txt").write_text(train)
        (lists / f"testlist{fold}.txt").write_text("".join(f"{name}\n" for name, _ in names[1:]))


def _write_excerpt(
    path: Path, source: Path, alteration: Alteration, rng: np.random.Generator
) -> None:
    clip_THWC, rate = _read(source)
    num_frames = min(len(clip_THWC), round(EXCERPT_SECONDS * float(rate)))
    latest = len(clip_THWC) - num_frames
    start = int(rng.integers(latest + 1)) if alteration.begins_later else 0
    clip_THWC = alteration.change(clip_THWC[start : start + num_frames], rng)
    new_rate = rate * alteration.rate_factor
    taken = np.arange(int(len(clip_THWC) * alteration.rate_factor)) / float(alteration.rate_factor)
    _write(path, clip_THWC[taken.astype(int)], new_rate, crf=alteration.crf)


def _read(path: Path) -> tuple[np.ndarray, Fraction]:
    with tolerant_open(av.open, av.__version__)(str(path)) as container:
        rate = Fraction(container.streams.video[0].average_rate or 25).limit_denominator(1001)
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    return np.stack(frames), rate


def _write(path: Path, clip_THWC: np.ndarray, rate: Fraction, *, crf: int) -> None:
    height, width = (size // 2 * 2 for size in clip_THWC.shape[1:3])
    options = {"crf": str(crf), "preset": "veryfast", "threads": "1"}
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=rate, options=options)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for number, picture_HWC in enumerate(clip_THWC):
            picture_HWC = np.ascontiguousarray(picture_HWC[:height, :width])
            frame = av.VideoFrame.from_ndarray(picture_HWC, format="rgb24")
            frame.pts, frame.time_base = number, 1 / rate
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
