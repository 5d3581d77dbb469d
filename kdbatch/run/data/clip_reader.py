"""What is wanted of one video, and the reading of it into memory. No torch: this is all that a
reading process has to know.

Axes: V clips of a video, T frames, H, W, C=3. Where a clip is cut and where it lies is settled
before it is read, so that it does not matter who reads it.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kdbatch.run.data.decoding.frame_cache import FrameCache, read_each
from kdbatch.vocab.shards import Sample

Box = tuple[int, int, int, int]
"""Top, left, height, width in stored pixels."""


@dataclass(frozen=True, kw_only=True)
class ReadRequest:
    """`frames` of a video are decoded once. Clip v is those at `places[v]`, cut to `boxes[v]`, from
    byte `offsets[v]` of its batch.
    """

    tar: Path
    sample: Sample
    frames: Sequence[int]
    frame_ranks: Sequence[Sequence[int]]
    boxes: Sequence[Box]
    offsets: Sequence[int]


def read_clips(
    request: ReadRequest, memory: np.ndarray, *, decoder: str, cache: FrameCache | None = None
) -> None:
    """Decode a video's frames, cut its clips and put them into `memory` (flat, uint8), each clip as
    THWC.

    Raises:
        UserError: the tar is missing or damaged at this video.
    """
    # Where each frame goes: into which pixels of which clips, each with the box to cut there.
    targets: list[list[tuple[np.ndarray, Box]]] = [[] for _ in request.frames]
    for place_T, box, offset in zip(
        request.frame_ranks, request.boxes, request.offsets, strict=True
    ):
        clip = memory[offset : offset + clip_bytes(len(place_T), box)]
        for frame_HWC, place in zip(
            clip.reshape(len(place_T), box[2], box[3], 3), place_T, strict=True
        ):
            targets[place].append((frame_HWC, box))

    def put(place: int, frame_HWC: np.ndarray) -> None:
        for target_HWC, (top, left, height, width) in targets[place]:
            target_HWC[...] = frame_HWC[top : top + height, left : left + width]

    read_each(request.tar, request.sample, request.frames, put, decoder=decoder, cache=cache)


def clip_bytes(num_frames: int, box: Box) -> int:
    return num_frames * box[2] * box[3] * 3


def pack_requests(requests: Sequence[ReadRequest]) -> bytes:
    """JSON, for another process."""
    return json.dumps(
        [{**vars(r), "tar": str(r.tar), "sample": vars(r.sample)} for r in requests]
    ).encode()


def unpack_requests(raw: bytes) -> list[ReadRequest]:
    return [_request(**fields) for fields in json.loads(raw)]


def _request(
    *,
    tar: str,
    sample: dict,
    frames: list[int],
    frame_ranks: list[list[int]],
    boxes: list[list[int]],
    offsets: list[int],
) -> ReadRequest:
    return ReadRequest(
        tar=Path(tar),
        sample=Sample(**{**sample, "splits": tuple(sample["splits"])}),
        frames=frames,
        frame_ranks=frame_ranks,
        boxes=[(top, left, height, width) for top, left, height, width in boxes],
        offsets=offsets,
    )
