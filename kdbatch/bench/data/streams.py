"""Endless streams of training clips, one per reading method.

A clip consists of 16 frames, 2 apart, that start at a random even frame.
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
from kdbatch.vocab.shards.index import Sample
from kdbatch.vocab.views import View

NUM_FRAMES, STRIDE_FRAMES, SIZE_PIXELS, RESIZE_PIXELS = 16, 2, 112, 128
SPAN_FRAMES = (NUM_FRAMES - 1) * STRIDE_FRAMES + 1
BATCH_CLIPS = 8
ENDLESS_STEPS = 20_000  # more than any measurement reads


def baseline_stream(paths: Sequence[Path], num_workers: int) -> Stream:
    """The baseline pipeline in PyTorch's DataLoader: float32 batches."""

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
    """Call `get(video, wanted)` in this process, and nothing else.

    `wanted` are the frames of all clips of the video, each once.
    """

    def stream() -> Generator[int, None, None]:
        for video, wanted in _random_videos(videos, clips_per_video):
            get(video, wanted)
            yield clips_per_video

    return stream


def decoding_stream(
    videos: Sequence[StoredVideo], *, decoder: str, clips_per_video: int = 1
) -> Stream:
    """Decode frames into memory that is already allocated, as in the loader."""
    num_frames = clips_per_video * NUM_FRAMES
    num_pixels = max(v.sample.height * v.sample.width for v in videos)
    memory = np.zeros(num_frames * num_pixels * 3, np.uint8)

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
    """The loader of training runs: cropped uint8 clips. With `augment_on`, this process also
    augments them on that device.
    """
    view = View(num_frames=NUM_FRAMES, stride_frames=STRIDE_FRAMES, size_pixels=SIZE_PIXELS)

    def sample_clips(
        videos: Sequence[StoredVideo], rng: np.random.Generator
    ) -> tuple[list[ClipRequest], dict[str, np.ndarray]]:
        requests = []
        for video in videos:
            clips = [_random_frames(video.sample, rng) for _ in range(clips_per_video)]
            draw_V = tuple(range(clips_per_video))
            requests.append(ClipRequest(frame_VT=np.stack(clips), draw_V=draw_V))
        return requests, {}

    def stream() -> Generator[int, None, None]:
        source = TrainingBatches(
            videos,
            view=view,
            batch_clips=BATCH_CLIPS // clips_per_video,
            seed=0,
            sample_clips=sample_clips,
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
    """The speed limit: libavcodec alone, on packets in memory, by a decoder that stays open.

    With `to_rgb`, libswscale also converts the wanted frames. Nothing is copied out of FFmpeg's
    memory.
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
        rgb: Any = VideoFormat("rgb24")  # PyAV's stubs accept names only
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
        for i in rng.permutation(len(videos)):
            clips = [_random_frames(videos[i].sample, rng) for _ in range(clips_per_video)]
            yield videos[i], np.unique(clips).tolist()


def _random_frames(sample: Sample, rng: np.random.Generator) -> np.ndarray:
    """Frames of a clip that starts at an even frame, as clips with an even stride do in training. A
    video that is too short is looped.
    """
    start = int(rng.integers(max(1, sample.num_frames - SPAN_FRAMES + 1))) & ~1
    return (start + np.arange(NUM_FRAMES) * STRIDE_FRAMES) % sample.num_frames


def _open_context(sample: Sample) -> VideoCodecContext:
    context = av.CodecContext.create("h264", "r")
    assert isinstance(context, VideoCodecContext)
    context.thread_count, context.extradata = 1, bytes.fromhex(sample.extradata)
    return context


def _needed_packets(video: StoredVideo, wanted: Sequence[int]) -> list[av.Packet]:
    """The packets that must be decoded to get the frames `wanted`. This does not use the code of
    the decoders that are compared with it.
    """
    sample = video.sample
    with video.tar.open("rb") as file:
        file.seek(sample.index_offset)
        groups: list[list[Packet]] = []
        for packet in unpack_index(file.read(sample.index_bytes)):
            if packet.is_key:
                groups.append([])
            groups[-1].append(packet)
        needed = []
        for group in groups:
            is_wanted = [packet.display_index in wanted for packet in group]
            last = max(np.flatnonzero(is_wanted), default=-1)
            for packet in group[: last + 1]:
                if packet.is_needed_by_others or packet.display_index in wanted:
                    file.seek(sample.offset + packet.offset)
                    needed.append(av.Packet(file.read(packet.size)))
                    needed[-1].pts = packet.display_index
    return needed
