"""The table of ways to store a video: their cost, and how well they hide the speed of a clip.

A form is good if speeds are told from it no better than from the original, within 0.05 of AUC. That
is one-sided: an original may tell speeds by the types of its own frames, and a stored form that
hides them may be further from it than 0.05 on the other side.
"""

import time
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from unittest import mock

import numpy as np
from av.video.frame import PictureType
from support import speed_detector as detector
from support.inputs import real_clips
from support.tasks import sample_of

from kdbatch.run.data.decoding.bare import decode_excerpt
from kdbatch.run.data.decoding.excerpt import excerpt_of
from kdbatch.shard import transcode
from kdbatch.shard.stored import EncodedVideo
from kdbatch.vocab.shards.index import Sample

NUM_DRAWS, STRIDES, REPEATS, READS = 8, (1, 2, 4), 9, 8


@dataclass(frozen=True, kw_only=True)
class Form:
    """A way to store a video. `params` replace those of today; None draws the types of frames."""

    title: str
    crf: float
    params: str | None = None


FORMS = (
    Form(title="alternating (v2)", crf=22.5, params="bframes=1"),
    Form(title="alternating, pbratio 1", crf=22.5, params="bframes=1:mbtree=0:pbratio=1"),
    Form(title="no B-frames", crf=22.5, params="bframes=0"),
    Form(title="no B-frames, crf 23", crf=23, params="bframes=0"),
    Form(title="drawn (v3)", crf=22.25),
)


def forms_table(num_clips: int) -> Iterator[str]:
    """Lines of the table; bytes, decibels and clips per CPU-second are to the first form's."""
    yield (
        "| video, form | AUC | bytes | dB | clips/CPU-s at stride 1 | 2 | 4 |\n"
        "|---|---:|---:|---:|---:|---:|---:|"
    )
    for path in real_clips():
        original = detector.speed_auc([detector.frames_of_original(path)], num_clips=num_clips)
        yield f"| **{path.stem[:12]}**, original | {original:.2f} | | | | | |"
        yield from _rows(path, num_clips)


def _rows(path: Path, num_clips: int) -> Iterator[str]:
    lossless_NHWC = detector.frames_without_loss(path)
    stored, aucs, decibels = {}, {}, {}
    for form in FORMS:
        with _stored_as(form):
            stored[form.title] = transcode.transcode(path)
            frame_NHWC = detector.frames_of_stored(path)
            num_draws = 1 if form.params else NUM_DRAWS
            versions = detector.frames_of_draws(path, num_draws)
            aucs[form.title] = detector.speed_auc(versions, num_clips=num_clips // num_draws)
        error = np.square(frame_NHWC.astype(np.float32) - lossless_NHWC).mean()
        decibels[form.title] = 10 * np.log10(255**2 / error)
    first = FORMS[0].title
    speeds = {stride: _relative_speeds(stored, stride) for stride in STRIDES}
    for title, video in stored.items():
        share = len(video.video) / len(stored[first].video)
        cells = " | ".join(f"{speeds[stride][title]:.2f}" for stride in STRIDES)
        gain = decibels[title] - decibels[first]
        yield f"| {title} | {aucs[title]:.2f} | {share:.2f} | {gain:+.2f} | {cells} |"


@contextmanager
def _stored_as(form: Form) -> Generator[None, None, None]:
    params = transcode.X264["x264-params"] + (f":{form.params}" if form.params else "")
    with ExitStack() as stack:
        changed = {"x264-params": params, "crf": str(form.crf)}
        stack.enter_context(mock.patch.dict(transcode.X264, changed))
        if form.params:
            left_to_x264 = mock.patch.object(
                transcode.FrameTypes, "draw", lambda *_: PictureType.NONE
            )
            stack.enter_context(left_to_x264)
        yield


def _sample(video: EncodedVideo) -> Sample:
    return replace(
        sample_of(video.num_frames, video.fps),
        width=video.width,
        height=video.height,
        num_bytes=len(video.video),
        index_bytes=len(video.index),
        extradata=video.extradata.hex(),
    )


def _relative_speeds(stored: dict[str, EncodedVideo], stride: int) -> dict[str, float]:
    """Clips of 16 frames per CPU-second, to those of the first form: medians of ratios in turn."""
    samples = {title: _sample(video) for title, video in stored.items()}
    spent: dict[str, list[float]] = {title: [] for title in stored}
    for repeat in range(REPEATS):
        for title, video in stored.items():
            rng, sample = np.random.default_rng(repeat), samples[title]
            begun = time.process_time()
            for _ in range(READS):
                start = int(rng.integers(max(1, sample.num_frames - 15 * stride)))
                wanted = [n % sample.num_frames for n in range(start, start + 16 * stride, stride)]
                excerpt = excerpt_of(video.video, video.index, sample, wanted)
                decode_excerpt(excerpt, wanted, lambda rank, frame_HWC: None)
            spent[title].append(time.process_time() - begun)
    first = spent[FORMS[0].title]
    return {
        title: median(a / b for a, b in zip(first, times, strict=True))
        for title, times in spent.items()
    }
