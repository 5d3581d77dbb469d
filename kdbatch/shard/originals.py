"""`--no-transcode`: videos stored as they came. Readers open them with decord, so only what decord
can address by frame is kept.

decord 0.6.0 finds a frame by its time stamp, and AVI has none: with B-frames, and with H.264 in any
form, it returns other frames than those asked for, without an error. Xvid's packed B-frames in the
AVIs of HMDB51 even make a clip jump back.
"""

from pathlib import Path

from av.video.frame import PictureType

from kdbatch.shard.source_video import inspect_video, open_video, translate_decode_errors
from kdbatch.shard.stored import BrokenVideo, EncodedVideo
from kdbatch.vocab.packet_index import MAX_FRAMES


def store_original(path: Path) -> EncodedVideo:
    """The file's own bytes, and its frames counted by decoding every one of them once, in order.

    Raises:
        BrokenVideo: as for transcoding, or frames of it cannot be addressed one by one.
    """
    with translate_decode_errors():
        footage = inspect_video(path)
        with open_video(path) as (container, stream):
            num_packets = sum(1 for packet in container.demux(stream) if packet.size)
        with open_video(path) as (container, stream):
            has_no_times = container.format.name == "avi"
            if has_no_times and stream.codec_context.name == "h264":
                raise BrokenVideo(
                    "is H.264 in AVI, whose frames cannot be addressed; it must be transcoded"
                )
            num_frames = width = height = 0
            for frame in container.decode(stream):
                if has_no_times and frame.pict_type == PictureType.B:
                    raise BrokenVideo(
                        "is an AVI with B-frames, whose frames cannot be addressed; it must be transcoded"
                    )
                lies = round(frame.rotation / 90) % 2  # decord turns such pictures upright
                num_frames, width, height = (
                    num_frames + 1,
                    *((frame.height, frame.width) if lies else (frame.width, frame.height)),
                )
        video = path.read_bytes()
    _check_count(num_frames, num_packets)
    return EncodedVideo(
        video=video,
        container=path.suffix.lower().removeprefix("."),
        index=b"",
        extradata=b"",
        num_frames=num_frames,
        fps=float(footage.rate),
        source_fps=float(footage.source_rate),
        width=width,
        height=height,
    )


def _check_count(num_frames: int, num_packets: int) -> None:
    if num_frames < 2:
        raise BrokenVideo(
            "holds one frame, which is a picture"
            if num_frames
            else "holds no frame that can be decoded"
        )
    if num_frames != num_packets:
        raise BrokenVideo(
            f"gives {num_frames} frames from {num_packets} packets, so they cannot be addressed; it must be transcoded"
        )
    if num_frames > MAX_FRAMES:
        raise BrokenVideo(f"has more than {MAX_FRAMES} frames")
