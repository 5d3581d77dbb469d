"""Shards as older versions of kdbatch stored them."""

import pytest
from av.video.frame import PictureType

from kdbatch.shard import build, shard_plan, transcode

VERSION_2 = "h264 short128 g16 b1 crf22.5 v2"


def store_as_version_2(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let videos be stored with one B-frame between every two P-frames, under that encoding."""
    params = transcode.X264["x264-params"].replace("bframes=14", "bframes=1")
    monkeypatch.setitem(transcode.X264, "x264-params", params)
    monkeypatch.setitem(transcode.X264, "crf", "22.5")
    monkeypatch.setattr(transcode.FrameTypes, "draw", lambda *_: PictureType.NONE)
    for module in (shard_plan, build):
        monkeypatch.setattr(module, "TRANSCODED", VERSION_2)
