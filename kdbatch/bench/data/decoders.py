"""The decoders that `kdbatch bench data` can measure here, and why others are missing."""

from collections.abc import Sequence

import torch

from kdbatch.base.errors import UserError
from kdbatch.bench.data.meter import Stream
from kdbatch.bench.data.streams import single_process_stream
from kdbatch.run.data.batches import StoredVideo
from kdbatch.run.data.decoding.decode import DECODERS, check_decoder
from kdbatch.run.data.decoding.excerpt import read_excerpt
from kdbatch.run.data.decoding.mini_mp4 import mini_mp4


def usable_decoders() -> list[str]:
    """The decoders that are installed and find their libraries."""
    return [name for name in DECODERS if not _reason_against(name)]


def torchcodec_notes() -> list[str]:
    """Why there are no rows of torchcodec, or none of its decoder on a GPU; empty with both."""
    if reason := _reason_against("torchcodec"):
        return [f"No rows of torchcodec: {reason}"]
    if not torch.cuda.is_available():
        return ["No row of torchcodec on a GPU (NVDEC): there is no CUDA device"]
    return []


def _reason_against(decoder: str) -> str:
    try:
        check_decoder(decoder)
    except UserError as error:
        return str(error)
    return ""


def nvdec_stream(videos: Sequence[StoredVideo]) -> Stream:
    """Decode frames on a GPU, where they stay. The CPU reads the packets that are needed."""
    # Imported here: it is an extra.
    from torchcodec.decoders import (  # noqa: PLC0415 # pyright: ignore[reportMissingImports]
        VideoDecoder,
    )

    def get(video: StoredVideo, wanted: list[int]) -> None:
        excerpt = read_excerpt(video.tar, video.sample, wanted)
        rank_of = excerpt.display_ranks()
        reader = VideoDecoder(mini_mp4(excerpt), seek_mode="approximate", device="cuda")
        reader.get_frames_at([rank_of[frame] for frame in wanted])
        torch.cuda.synchronize()

    return single_process_stream(videos, get)
