"""The sizes of the toy data sets: numbers of videos and classes, and lengths in frames."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class ToySize:
    """Videos per class, numbers of motions and nouns, and length of videos in frames.

    Each fold of UCF101 tests a third of its groups per class. `extra_frames` are added to the data
    sets for pretraining, k400 and ssv2: a clip of 8 frames with stride 3 at eight times the speed
    needs 192.
    """

    k400_train: int = 10
    k400_val: int = 1
    ssv2_train: int = 10
    ssv2_validation: int = 1
    ucf101_nouns: int = 2
    ucf101_groups: int = 6
    ucf101_clips_per_group: int = 3
    hmdb51_train: int = 4
    hmdb51_test: int = 2
    hmdb51_unused: int = 1
    num_motions: int = 4
    min_frames: int = 66
    max_frames: int = 100
    extra_frames: int = 130


# `full` is for the profile toy. `demo` is for the profile demo, whose clips take 16 frames, and 32
# at twice the speed: shorter videos, and more of them to test on. `small` is for the profile micro,
# which reads 16 videos, and whose clips are 8 frames with stride 1: 64 at eight times the speed.
SIZES: dict[str, ToySize] = {
    "full": ToySize(),
    "demo": ToySize(
        k400_train=8,
        k400_val=0,
        ucf101_nouns=4,
        ucf101_groups=21,
        ucf101_clips_per_group=2,
        num_motions=2,
        min_frames=34,
        max_frames=44,
        extra_frames=0,
    ),
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
