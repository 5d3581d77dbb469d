"""The chain on real videos: segments in UCF101's layout are sharded, read by decord, trained on."""

import itertools
from fractions import Fraction
from pathlib import Path
from statistics import mean

import av
import polars as pl
import pytest
from support import micro_study as micro
from support.inputs import real_clips

from kdbatch.base.atomic_write import load_json
from kdbatch.base.progress import silent
from kdbatch.base.pyav import tolerant_open
from kdbatch.shard.build import build_shards
from kdbatch.vocab.shard_request import ShardRequest
from kdbatch.vocab.shards.index import load_index

SEGMENT_FRAMES, NUM_SEGMENTS = 24, 6
# An epoch is one batch of a few clips and its loss is noisy: the test compares the means over the
# first and the last quarter of the epochs.
NUM_EPOCHS = 32

pytestmark = pytest.mark.slow

EXPERIMENT = """\
name: real
title: Real clips
vary: {target: [ucf101]}
teachers:
  T1: {title: T1, backbone: shufflenet_2x, target: $target}
  T2: {title: T2, backbone: r21d_10, target: $target}
student: {title: Student, backbone: shufflenet_2x, target: $target, teachers: [T1, T2]}
tables:
  - {id: real, title: Real clips, rows: [T1, T2, student], columns: [target]}
"""


def _write_segment(path: Path, frames: list[av.VideoFrame], rate: Fraction) -> None:
    """Write one segment in UCF101's format: MPEG-4 part 2 in AVI."""
    with av.open(str(path), "w") as out:
        stream = out.add_stream("mpeg4", rate=rate, options={"b": "2M", "g": "12"})
        stream.width, stream.height = frames[0].width // 2 * 2, frames[0].height // 2 * 2
        stream.pix_fmt = "yuv420p"
        for number, frame in enumerate(frames):
            frame = frame.reformat(stream.width, stream.height, "yuv420p")
            frame.pts, frame.time_base = number, 1 / rate
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))


@pytest.fixture(scope="module")
def ucf101_layout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """UCF101's files: one class per clip, one group per segment, a third of them in test."""
    clips, root = real_clips(), tmp_path_factory.mktemp("real") / "ucf101"
    lists = root / "ucfTrainTestlist"
    lists.mkdir(parents=True)
    names = [f"Real{chr(ord('A') + i)}" for i in range(len(clips))]
    (lists / "classInd.txt").write_text(
        "".join(f"{i + 1} {name}\n" for i, name in enumerate(names))
    )
    train, test = [], []
    for label, (clip, name) in enumerate(zip(clips, names, strict=True), 1):
        (root / "UCF-101" / name).mkdir(parents=True)
        with tolerant_open(av.open, av.__version__)(str(clip)) as container:
            rate = Fraction(container.streams.video[0].average_rate or 25).limit_denominator(1000)
            decoded = container.decode(video=0)
            frames = list(itertools.islice(decoded, SEGMENT_FRAMES * NUM_SEGMENTS))
        for number in range(len(frames) // SEGMENT_FRAMES):
            path = f"{name}/v_{name}_g{number + 1:02d}_c01.avi"
            segment = frames[number * SEGMENT_FRAMES : (number + 1) * SEGMENT_FRAMES]
            _write_segment(root / "UCF-101" / path, segment, rate)
            if number % 3 == 2:
                test.append(f"{path}\n")
            else:
                train.append(f"{path} {label}\n")
    for fold in ("01", "02", "03"):
        (lists / f"trainlist{fold}.txt").write_text("".join(train))
        (lists / f"testlist{fold}.txt").write_text("".join(test))
    return root


def test_real_videos_go_through_the_whole_chain_read_by_decord(
    ucf101_layout: Path, tmp_path: Path
) -> None:
    build_shards(
        ShardRequest(dataset="ucf101", videos_per_shard=8, processes=1),
        root=ucf101_layout,
        shards_dir=tmp_path / "shards",
        progress=silent,
    )
    part = load_index(tmp_path / "shards", "ucf101").parts["all"]
    assert sum(s.num_rejected for s in part.shards) == 0 and part.num_in_split["test01"] >= 1
    micro.write_jobs(tmp_path, epochs=NUM_EPOCHS)
    experiment = tmp_path / "jobs" / "real.yaml"
    experiment.write_text(EXPERIMENT)
    (tmp_path / "kdbatch.toml").write_text('decoder = "decord"\n')
    micro.wait_for_success(micro.submit(tmp_path, experiment))
    runs = [path.parent for path in (tmp_path / "runs").glob("r*/done.json")]
    assert len(runs) == 3
    for folder in runs:
        assert load_json(folder / "run.json")["decoder"] == "decord"
        curves = pl.read_parquet(folder / "curves.parquet")
        loss = curves.filter(pl.col("name") == "loss")["value"].to_list()
        assert len(loss) == NUM_EPOCHS
        assert mean(loss[-NUM_EPOCHS // 4 :]) < mean(loss[: NUM_EPOCHS // 4])
        predictions = pl.read_parquet(folder / "predictions.parquet")
        assert len(predictions) == part.num_in_split["test01"]
        assert predictions["probability_K"].list.sum().is_close(1.0, abs_tol=1e-3).all()
