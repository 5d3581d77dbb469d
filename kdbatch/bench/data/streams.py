"""Ways of reading clips without end, each yielding how many came. A clip: 16 frames, 2 apart, from
a random even frame on.
"""

import math
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
from av.video.codeccontext import VideoCodecContext
from av.video.format import VideoFormat
from av.video.reformatter import VideoReformatter
from torch.utils.data import DataLoader

from kdbatch.bench.data.baselines import BaselineClips
from kdbatch.bench.data.meter import Stream
from kdbatch.run.data.batches import StoredVideo, TrainingBatches, iterate_batches
from kdbatch.run.data.clip_reader import ClipReader
from kdbatch.run.data.decoding.decode import decode_each
from kdbatch.run.data.sampling import ClipRequest
from kdbatch.vocab.packet_index import Packet, unpack_index
from kdbatch.vocab.shards import Sample
from kdbatch.vocab.views import View

NUM_FRAMES, STRIDE_FRAMES, SIZE_PIXELS, RESIZE_PIXELS = 16, 2, 112, 128
SPAN_FRAMES = (NUM_FRAMES - 1) * STRIDE_FRAMES + 1
BATCH_CLIPS = 8
ENDLESS_STEPS = 20_000  # more than anyone waits for


def baseline_stream(paths: Sequence[Path], num_workers: int) -> Stream:
    """The usual pipeline in torch's loader: float32 batches."""

    def stream() -> Generator[int, None, None]:
        clips = BaselineClips(
            paths,
            num_frames=NUM_FRAMES,
            stride_frames=STRIDE_FRAMES,
            size_pixels=SIZE_PIXELS,
            resize_pixels=RESIZE_PIXELS,
        )
        items = range(ENDLESS_STEPS * BATCH_CLIPS)
        for batch in DataLoader(
            clips, batch_size=BATCH_CLIPS, sampler=items, num_workers=num_workers
        ):
            yield len(batch)

    return stream


def single_process_stream(
    videos: Sequence[StoredVideo],
    get: Callable[[StoredVideo, list[int]], object],
    *,
    clips_per_video: int = 1,
) -> Stream:
    """`get(video, wanted)` in this process, and nothing else; `wanted` are the frames of all clips,
    each once.
    """

    def stream() -> Generator[int, None, None]:
        for video, wanted in _random_videos(videos, clips_per_video):
            get(video, wanted)
            yield clips_per_video

    return stream


def decoding_stream(
    videos: Sequence[StoredVideo], *, decoder: str, clips_per_video: int = 1
) -> Stream:
    """Frames decoded into memory that is there already, as it is in the loader."""
    num_frames = clips_per_video * NUM_FRAMES
    memory = np.zeros(
        max(num_frames * v.sample.height * v.sample.width * 3 for v in videos), np.uint8
    )

    def get(video: StoredVideo, wanted: list[int]) -> None:
        shape = (num_frames, video.sample.height, video.sample.width, 3)
        frame_NHWC = memory[: math.prod(shape)].reshape(shape)
        decode_each(video.tar, video.sample, wanted, frame_NHWC.__setitem__, decoder=decoder)

    return single_process_stream(videos, get, clips_per_video=clips_per_video)


def loader_stream(
    videos: Sequence[StoredVideo],
    num_workers: int,
    *,
    clip_reader: ClipReader,
    clips_per_video: int = 1,
    augment_on: torch.device | None = None,
) -> Stream:
    """The loader that training uses: cut uint8 clips; with `augment_on` also resized, flipped and
    normalised there, by this process.
    """
    view = View(num_frames=NUM_FRAMES, stride_frames=STRIDE_FRAMES, size_pixels=SIZE_PIXELS)

    def choose(
        chosen: Sequence[StoredVideo], rng: np.random.Generator
    ) -> tuple[list[ClipRequest], dict[str, np.ndarray]]:
        draws = tuple(range(clips_per_video))
        return [
            ClipRequest(
                frame_VT=np.stack([_random_frames(v.sample, rng) for _ in draws]), draw_V=draws
            )
            for v in chosen
        ], {}

    def stream() -> Generator[int, None, None]:
        source = TrainingBatches(
            videos,
            view=view,
            batch_clips=BATCH_CLIPS // clips_per_video,
            seed=0,
            sample_clips=choose,
            clip_reader=clip_reader,
        )
        for batch in iterate_batches(source, range(ENDLESS_STEPS), num_workers=num_workers):
            if augment_on is not None:
                batch.views(size_pixels=SIZE_PIXELS, device=augment_on)
            yield len(batch.clips)

    return stream


def limit_stream(
    videos: Sequence[StoredVideo], *, to_rgb: bool, clips_per_video: int = 1
) -> Stream:
    """libavcodec on the needed packets, which are at hand, by a decoder that stays open; with
    `to_rgb`, libswscale on the wanted frames.

    Nothing is copied out of FFmpeg's memory.
    """

    def stream() -> Generator[int, None, None]:
        contexts: dict[str, VideoCodecContext] = {}
        ready: list[tuple[VideoCodecContext, list[av.Packet], set[int]]] = []
        for _, (video, wanted) in zip(range(len(videos)), _random_videos(videos, clips_per_video)):
            context = contexts.setdefault(video.sample.extradata, _open_context(video.sample))
            ready.append(
                (context, _needed_packets(video, wanted), set(wanted) if to_rgb else set())
            )
        convert = VideoReformatter()
        rgb: Any = VideoFormat("rgb24")  # the stubs of PyAV know names alone
        while True:
            for context, packets, converted in ready:
                for packet in [*packets, None]:
                    for frame in context.decode(packet):
                        if frame.pts in converted:
                            convert.reformat(frame, format=rgb, threads=1)
                context.flush_buffers()
                yield clips_per_video

    return stream


def _random_videos(
    videos: Sequence[StoredVideo], clips_per_video: int
) -> Iterator[tuple[StoredVideo, list[int]]]:
    rng = np.random.default_rng(0)
    while True:
        for place in rng.permutation(len(videos)):
            sample = videos[place].sample
            yield (
                videos[place],
                np.unique([_random_frames(sample, rng) for _ in range(clips_per_video)]).tolist(),
            )


def _random_frames(sample: Sample, rng: np.random.Generator) -> np.ndarray:
    """From an even frame on, as clips with an even stride are read in training; a video that is too
    short is looped.
    """
    start = int(rng.integers(max(1, sample.num_frames - SPAN_FRAMES + 1))) & ~1
    return (start + np.arange(NUM_FRAMES) * STRIDE_FRAMES) % sample.num_frames


def _open_context(sample: Sample) -> VideoCodecContext:
    context = av.CodecContext.create("h264", "r")
    assert isinstance(context, VideoCodecContext)
    context.thread_count, context.extradata = 1, bytes.fromhex(sample.extradata)
    return context


def _needed_packets(video: StoredVideo, wanted: Sequence[int]) -> list[av.Packet]:
    """What must be decoded to see the frames `wanted`, written without the decoders that are
    measured against it.
    """
    sample = video.sample
    with video.tar.open("rb") as file:
        file.seek(sample.index_offset)
        groups: list[list[Packet]] = []
        for packet in unpack_index(file.read(sample.index_bytes)):
            groups += [[]] if packet.is_key else []
            groups[-1].append(packet)
        coded = []
        for group in groups:
            last = max(
                (place for place, packet in enumerate(group) if packet.display_index in wanted),
                default=-1,
            )
            for packet in group[: last + 1]:
                if packet.is_needed_by_others or packet.display_index in wanted:
                    file.seek(sample.offset + packet.offset)
                    coded.append(av.Packet(file.read(packet.size)))
                    coded[-1].pts = packet.display_index
    return coded
