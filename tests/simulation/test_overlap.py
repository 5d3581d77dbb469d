"""Copies of real videos are found, and no other video is listed."""

import pytest
from simulation.overlap import listed_copies
from support.altered_videos import FOUND
from support.inputs import real_clips


@pytest.mark.slow
def test_copies_of_real_videos_are_found_and_no_other_video_is_listed(tmp_path) -> None:
    clips = real_clips()
    right, num_wrong, _ = listed_copies(tmp_path, clips, FOUND)
    assert right == dict.fromkeys(range(len(FOUND)), len(clips)) and num_wrong == 0
