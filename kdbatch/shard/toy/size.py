"""How much `kdbatch toy` makes."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class ToySize:
    """How many videos per class, how many classes, how long. UCF101 has six groups per class, so
    that each of its three folds tests two.

    `extra_frames` are for the two that one pretrains on: a clip of 8 frames, every third one, eight
    times as fast, needs 192.
    """

    k400_train: int = 10
    k400_val: int = 1
    ssv2_train: int = 10
    ssv2_validation: int = 1
    ucf101_clips_per_group: int = 3
    hmdb51_train: int = 4
    hmdb51_test: int = 2
    hmdb51_unused: int = 1
    num_motions: int = 4
    min_frames: int = 66
    max_frames: int = 100
    extra_frames: int = 130


# `full` is for the profile toy. `small` is for micro, whose clips are 8 frames in a row, eight
# times as fast 64, and which reads 16 videos.
SIZES: dict[str, ToySize] = {
    "full": ToySize(),
    "small": ToySize(
        k400_train=1,
        ssv2_train=2,
        ucf101_clips_per_group=2,
        hmdb51_train=1,
        hmdb51_test=1,
        hmdb51_unused=1,
        extra_frames=0,
    ),
}
