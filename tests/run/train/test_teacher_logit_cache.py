import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from support.processes import in_two_processes
from torch import Tensor

from kdbatch.run.data.augment_params import AugmentParams
from kdbatch.run.data.batch import Batch
from kdbatch.run.train.steps import Teacher
from kdbatch.run.train.teacher_logit_cache import TeacherLogitCache

CLASSES = ("run", "jump", "sit")
WEIGHTS = ("aa", "bb")
CLIP = torch.randn(4, 3, 2, 2, 2, generator=torch.Generator().manual_seed(0))


def _teacher(seed: int) -> Teacher:
    weight_DK = torch.randn(24, 3, generator=torch.Generator().manual_seed(seed))
    return lambda clip_BCTHW: clip_BCTHW.flatten(1) @ weight_DK


TEACHERS = [_teacher(1), _teacher(2)]


def _batch(*, view: int = 0, flip: bool = False, first_frame: int = 7) -> Batch:
    params = [AugmentParams((0, b, 8, 8), flip, False, brightness=1.1) for b in range(4)]
    frame_BT = torch.arange(4)[:, None] + torch.tensor([first_frame, 9])
    extra = {
        "frame_BT": frame_BT,
        "position": torch.tensor([5, 0, 3, 1]),
        "view": torch.full((4,), view),
    }
    return Batch(
        clips=[],
        augment_params=params,
        num_views=1,
        label_B=torch.zeros(4),
        keys=list("abcd"),
        extra=extra,
    )


def _cache(
    folder: Path, *, classes: tuple[str, ...] = CLASSES, weights: tuple[str, ...] = WEIGHTS
) -> TeacherLogitCache:
    return TeacherLogitCache(
        folder / "t.bin", TEACHERS, num_views=2, classes=classes, weights=weights
    )


def _logits(cache: TeacherLogitCache, batch: Batch) -> Tensor:
    return torch.stack([teacher(CLIP) for teacher in cache.teachers_for(batch, CLIP)])


def test_logits_are_cached_for_the_next_process_that_opens_the_file(tmp_path: Path) -> None:
    first = _cache(tmp_path)
    logit_MBK = _logits(first, _batch())
    computed_MBK = torch.stack([teacher(CLIP) for teacher in TEACHERS])
    assert torch.equal(logit_MBK, computed_MBK.half().float())
    again = _cache(tmp_path)
    assert torch.equal(_logits(again, _batch()), logit_MBK)
    assert (first.num_misses, again.num_misses) == (1, 0)


def test_each_view_has_its_own_records_in_any_order_of_the_videos(tmp_path: Path) -> None:
    cache = _cache(tmp_path)
    zero, one = _logits(cache, _batch(view=0)), _logits(cache, _batch(view=1))
    batch = _batch()
    reversed_batch = dataclasses.replace(
        batch,
        augment_params=batch.augment_params[::-1],
        keys=batch.keys[::-1],
        extra={n: v.flip(0) for n, v in batch.extra.items()},
    )
    assert torch.equal(_logits(cache, reversed_batch), zero.flip(1))
    assert torch.equal(_logits(cache, _batch(view=1)), one)
    assert cache.num_misses == 2


@pytest.mark.parametrize("changed", [{"flip": True}, {"first_frame": 6}])
def test_another_view_is_never_read_from_the_cache(tmp_path: Path, changed: dict[str, Any]) -> None:
    cache = _cache(tmp_path)
    _logits(cache, _batch())
    _logits(cache, _batch(**changed))
    assert cache.num_misses == 2


@pytest.mark.parametrize(
    "changed", [{"weights": ("aa", "cc")}, {"classes": ("jump", "run", "sit")}]
)
def test_logits_of_other_teachers_or_classes_are_computed_again(
    tmp_path: Path, changed: dict[str, tuple[str, ...]]
) -> None:
    _logits(_cache(tmp_path), _batch())
    cache = _cache(tmp_path, **changed)
    _logits(cache, _batch())
    assert cache.num_misses == 1


def test_logits_of_a_video_of_another_key_are_computed_again(tmp_path: Path) -> None:
    _logits(_cache(tmp_path), _batch())
    cache = _cache(tmp_path)
    _logits(cache, dataclasses.replace(_batch(), keys=list("abcx")))
    assert cache.num_misses == 1


def test_a_record_with_any_damaged_byte_is_computed_again(tmp_path: Path) -> None:
    logit_MBK = _logits(_cache(tmp_path), _batch())
    whole = (tmp_path / "t.bin").read_bytes()
    size = 112 + 4 * 2 + 2 * 2 * 3
    assert len(whole) == (2 * 5 + 1) * size  # the last record is that of position 5, view 0
    for offset in range(2 * 3 * size, 2 * 3 * size + size):  # the record of position 3
        (tmp_path / "t.bin").write_bytes(
            whole[:offset] + bytes([whole[offset] ^ 1]) + whole[offset + 1 :]
        )
        cache = _cache(tmp_path)
        assert torch.equal(_logits(cache, _batch()), logit_MBK) and cache.num_misses == 1
        assert (tmp_path / "t.bin").read_bytes() == whole


@pytest.mark.parametrize("length", [0, 1, 300, 1451])
def test_a_truncated_file_is_restored(tmp_path: Path, length: int) -> None:
    logit_MBK = _logits(_cache(tmp_path), _batch())
    whole = (tmp_path / "t.bin").read_bytes()
    (tmp_path / "t.bin").write_bytes(whole[:length])
    cache = _cache(tmp_path)
    assert torch.equal(_logits(cache, _batch()), logit_MBK) and cache.num_misses == 1
    assert (tmp_path / "t.bin").read_bytes() == whole


def _misses_for_half_a_batch(folder: Path, rank: int) -> int:
    """Request one rank's half of a batch twice; return the number of cache misses."""
    batch, half, cache = _batch(), slice(rank, None, 2), _cache(folder)
    own = dataclasses.replace(
        batch,
        augment_params=batch.augment_params[half],
        keys=batch.keys[half],
        extra={name: value[half] for name, value in batch.extra.items()},
    )
    for _ in range(2):
        cache.teachers_for(own, CLIP[half])
    return cache.num_misses


@pytest.mark.xdist_group("team")
def test_two_processes_write_their_own_clips_into_one_file(tmp_path: Path) -> None:
    assert in_two_processes(
        lambda group: _misses_for_half_a_batch(tmp_path, group.rank), tmp_path
    ) == [1, 1]
    alone = _cache(tmp_path)
    computed_MBK = torch.stack([teacher(CLIP) for teacher in TEACHERS])
    assert torch.allclose(_logits(alone, _batch()), computed_MBK, rtol=1e-3, atol=1e-3)
    assert alone.num_misses == 0
