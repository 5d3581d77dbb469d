"""Finds out whether a video file is whole: compares its packets with what its header promises."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import av
from av.container import InputContainer
from av.video.stream import VideoStream

from kdbatch.shard.footage.gaps import has_gap
from kdbatch.shard.footage.mpeg_streams import ends_in_packet
from kdbatch.shard.stored import BrokenVideo

# Of the promised frames, this share must be in the file: some originals promise one too many.
_MIN_COMPLETE_SHARE = 0.98
# Matroska and FLV promise no number of frames but a duration, and so does MP4 in fragments.
_DURATION_FORMATS = frozenset({"matroska,webm", "flv"})
_MP4 = "mov,mp4,m4a,3gp,3g2,mj2"
_INDEXED_FORMATS = frozenset({_MP4, "avi"})
_NUM_LAST_PACKETS = 8  # among these is the one that a cut went through, after the parser


class Stamp(NamedTuple):
    """The facts about one packet, in the ticks of its track."""

    pts: int | None
    duration: int | None
    is_discard: bool
    is_corrupt: bool


def promised_frames(container: InputContainer, stream: VideoStream) -> int:
    """The number of frames by the header of a file that was just opened; 0 where it has none.

    MP4 and AVI have an index of all frames. Reading adds entries, so that it promises what was
    found.
    """
    is_indexed = container.format.name in _INDEXED_FORMATS
    num_indexed = len(stream.index_entries) if is_indexed else 0
    return num_indexed if num_indexed > 1 else stream.frames


def read_time_stamps(container: InputContainer) -> dict[int, list[Stamp]]:
    """The time stamps of every track, by its index; a track of covers has none."""
    tracks: defaultdict[int, list[Stamp]] = defaultdict(list)
    for packet in container.demux():
        if packet.size:
            stamp = Stamp(packet.pts, packet.duration, packet.is_discard, packet.is_corrupt)
            tracks[packet.stream_index].append(stamp)
    return tracks


def check_whole(
    path: Path,
    container: InputContainer,
    stream: VideoStream,
    tracks: Mapping[int, Sequence[Stamp]],
    num_promised: int,
) -> None:
    """Compare what is in the file with what its header promises.

    MPEG streams promise nothing: of them, a cut is found that goes through a packet.

    Raises:
        BrokenVideo: less is there.
    """
    share = len(tracks[stream.index]) / num_promised if num_promised else 1.0
    name = container.format.name
    if name in _DURATION_FORMATS or (name == _MP4 and not stream.frames):
        share = min(share, _share_of_duration(container, tracks))
    if share < _MIN_COMPLETE_SHARE:
        raise BrokenVideo(f"is cut short: about {share:.0%} of it is there")
    last = [stamp for track in tracks.values() for stamp in track[-_NUM_LAST_PACKETS:]]
    if any(stamp.is_corrupt for stamp in last) or ends_in_packet(path, name):
        raise BrokenVideo("is cut short: its last packet is incomplete")
    if any(stamp.is_corrupt for stamp in tracks[stream.index]):
        raise BrokenVideo("is damaged: a packet of it is incomplete")
    if has_gap(path, name):
        raise BrokenVideo("is damaged: part of it holds no packets")


def _share_of_duration(container: InputContainer, tracks: Mapping[int, Sequence[Stamp]]) -> float:
    """Where the last track ends, as a share of the duration in the header; 1 without one.

    In a cut file all tracks end early; in a whole one, sound may end before the pictures or after
    them.
    """
    duration = (container.duration or 0) / av.time_base
    spans = []
    for index, track in tracks.items():
        time_base = container.streams[index].time_base or Fraction(1)
        spans += [(float(a * time_base), float(b * time_base)) for a, b in _span(track)]
    # Most writers count the duration from zero, wherever the first packet lies.
    start = max(0.0, min((start for start, _ in spans), default=duration))
    end = max((end for _, end in spans), default=duration)
    return (end - start) / (duration - start) if start < duration else 1.0


def _span(track: Sequence[Stamp]) -> list[tuple[int, int]]:
    """Where a track starts and ends, in its ticks, with one packet's length for rounding.

    The last packet may be a B-frame, which is shown before others. Empty without time stamps.
    """
    times = sorted(stamp.pts for stamp in track if stamp.pts is not None)
    if not times:
        return []
    gaps = sorted(after - before for before, after in pairwise(times))
    gap = gaps[len(gaps) // 2] if gaps else 0
    ends = [stamp.pts + (stamp.duration or gap) for stamp in track if stamp.pts is not None]
    return [(times[0], max(ends) + gap)]
