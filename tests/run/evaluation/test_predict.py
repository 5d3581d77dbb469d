import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support import clips as world
from support.networks import classifier, noise
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from kdbatch.base.errors import UserError
from kdbatch.result.label_ranks import label_ranks
from kdbatch.run.compilation import trial
from kdbatch.run.context import RunContext
from kdbatch.run.data.augment import apply_augment
from kdbatch.run.data.augment_params import AugmentParams
from kdbatch.run.data.batches import StoredVideo
from kdbatch.run.data.clip_reader import ClipReader
from kdbatch.run.data.decoding.decode import decode_frames
from kdbatch.run.data.sampling import evenly_spaced_clips
from kdbatch.run.distributed.process_group import ProcessGroup
from kdbatch.run.distributed.sync_layers import SyncBatchNorm, synchronize_layers
from kdbatch.run.evaluation.predict import network_to_infer, predict
from kdbatch.run.heartbeat import StatusReporter, StopSignal
from kdbatch.vocab.runs.folder import RunFolder


class Columns(nn.Module):
    """A class per column of pixels: logits that differ from clip to clip and from crop to crop."""

    def forward(self, clip_BCTHW: torch.Tensor) -> torch.Tensor:
        return clip_BCTHW.mean((1, 2, 3))


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> list[StoredVideo]:
    return world.videos_of(world.make_shards(tmp_path_factory.mktemp("predict")))


def _worker(folder: Path) -> RunContext:
    pulse = StatusReporter(RunFolder(folder), device="cpu", stop=StopSignal())
    return RunContext(
        folder=RunFolder(folder),
        reporter=pulse,
        device=torch.device("cpu"),
        num_workers=0,
        clip_reader=ClipReader(decoder="pyav"),
    )


def _of_one(
    video: StoredVideo, context: RunContext, *, num_clips: int, num_crops: int
) -> np.ndarray:
    return predict(
        Columns(),
        [video],
        view=world.VIEW,
        num_clips=num_clips,
        num_crops=num_crops,
        context=context,
    ).probability_NK[0]


@given(st.integers(0, 2**32), st.integers(1, 6))
def test_a_labels_place_is_its_place_among_sorted_classes(seed: int, num_classes: int) -> None:
    rng = np.random.default_rng(seed)
    value_NK, label_N = (
        rng.integers(0, 3, (20, num_classes)).astype(float),
        rng.integers(0, num_classes, 20),
    )
    order_NK = np.argsort(-value_NK, axis=1, kind="stable")
    assert label_ranks(value_NK, label_N).tolist() == [
        row.tolist().index(label) for row, label in zip(order_NK, label_N, strict=True)
    ]


@pytest.mark.parametrize("num_crops", [1, 3])
def test_videos_predicted_together_or_alone_are_predicted_alike(
    videos: list[StoredVideo], tmp_path: Path, num_crops: int
) -> None:
    worker = _worker(tmp_path)
    together = predict(
        Columns(), videos, view=world.VIEW, num_clips=4, num_crops=num_crops, context=worker
    )
    assert together.keys == [v.sample.key for v in videos] and together.clip_rank_NC.shape == (
        len(videos),
        4,
    )
    alone = np.stack([_of_one(v, worker, num_clips=4, num_crops=num_crops) for v in videos])
    assert np.allclose(together.probability_NK, alone, atol=1e-6)
    assert np.allclose(together.probability_NK.sum(1), 1, atol=1e-6)


def test_three_crops_are_three_squares_along_the_long_side_averaged(
    videos: list[StoredVideo], tmp_path: Path
) -> None:
    video = max(videos, key=lambda v: v.sample.width)
    height, width = video.sample.height, video.sample.width
    side = height * 7 // 8
    assert width > height and height % 8 == 0
    frame_CT = evenly_spaced_clips(video.sample, world.VIEW, 2).frame_VT
    clips, draws = [], []
    for frame_T in frame_CT:
        frame_THWC = torch.from_numpy(
            decode_frames(video.tar, video.sample, frame_T.tolist(), decoder="pyav")
        )
        top = (height - side) // 2
        for left in (0, (width - side) // 2, width - side):
            clips.append(frame_THWC[:, top : top + side, left : left + side].contiguous())
            draws.append(AugmentParams((top, left, side, side), False, False))
    view_VCTHW = apply_augment(
        clips, draws, size_pixels=world.VIEW.size_pixels, device=torch.device("cpu")
    )
    expected_K = Columns()(view_VCTHW).softmax(-1).mean(0)
    found_K = _of_one(video, _worker(tmp_path), num_clips=2, num_crops=3)
    assert torch.allclose(torch.from_numpy(found_K), expected_K, atol=1e-6)
    assert not torch.allclose(
        torch.from_numpy(_of_one(video, _worker(tmp_path), num_clips=2, num_crops=1)),
        expected_K,
        atol=1e-4,
    )


class Diverged(Columns):
    """A network of which one class is infinite for every clip."""

    def forward(self, clip_BCTHW: torch.Tensor) -> torch.Tensor:
        logit_BK = super().forward(clip_BCTHW)
        logit_BK[:, 1] = torch.inf
        return logit_BK


def test_a_network_whose_outputs_are_not_finite_has_no_predictions(
    tmp_path: Path, videos: list[StoredVideo]
) -> None:
    with pytest.raises(UserError, match=rf"^video {videos[0].sample.key}: .* diverged: lower lr"):
        predict(
            Diverged(),
            videos,
            view=world.VIEW,
            num_clips=1,
            num_crops=1,
            context=_worker(tmp_path),
        )


def test_label_order_decides_between_equal_classes() -> None:
    assert label_ranks(np.array([[0.5, 0.5, 0.0]] * 3), np.arange(3)).tolist() == [0, 1, 2]


def test_where_networks_may_be_compiled_a_folded_copy_predicts(
    tmp_path: Path, videos: list[StoredVideo], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = classifier("r21d_10").train()
    for norm in model.modules():
        if isinstance(norm, nn.BatchNorm3d):
            nn.init.uniform_(norm.weight, 0.5, 2.0)
    names = list(model.state_dict())

    def predicted() -> np.ndarray:
        context, view = _worker(tmp_path), world.VIEW
        found = predict(model, videos[:3], view=view, num_clips=1, num_crops=1, context=context)
        return found.logit_NK

    expected = predicted()
    monkeypatch.setattr(trial, "COMPILE_DEVICES", frozenset({"cpu"}))
    copy = network_to_infer(model, _worker(tmp_path))
    assert copy is not model and not any(isinstance(m, nn.BatchNorm3d) for m in copy.modules())
    np.testing.assert_allclose(predicted(), expected, rtol=1e-4, atol=1e-5)
    assert list(model.state_dict()) == names and model.backbone.compiled is None


def test_each_rank_of_a_team_folds_a_copy_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial, "COMPILE_DEVICES", frozenset({"cpu"}))
    team, model = ProcessGroup(world_size=2), classifier("r21d_10").double()
    clip_BCTHW = noise(2).double()
    expected_BK = model.eval()(clip_BCTHW)
    synchronize_layers(model, team)
    copy = network_to_infer(model, replace(_worker(tmp_path), group=team))
    assert not any(isinstance(module, _BatchNorm) for module in copy.modules())
    assert any(isinstance(module, SyncBatchNorm) for module in model.modules())
    assert torch.allclose(copy(clip_BCTHW), expected_BK, rtol=1e-9, atol=1e-12)


def test_what_predicts_without_a_compiler_says_why(
    tmp_path: Path,
    videos: list[StoredVideo],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(trial, "COMPILE_DEVICES", frozenset({"cpu"}))
    caplog.set_level(logging.INFO)
    _of_one(videos[0], replace(_worker(tmp_path), compile=True), num_clips=1, num_crops=1)
    assert "computes without torch.compile: 1 batches are fewer than 100" in caplog.messages
