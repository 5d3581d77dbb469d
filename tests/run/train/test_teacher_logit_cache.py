import dataclasses
from pathlib import Path

import pytest
import torch
from support.processes import in_two_processes
from torch import Tensor

from kdbatch.run.data.augment import AugmentParams
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
    draws = [AugmentParams((0, b, 8, 8), flip, False, brightness=1.1) for b in range(4)]
    frame_BT = torch.arange(4)[:, None] + torch.tensor([first_frame, 9])
    extra = {
        "frame_BT": frame_BT,
        "position": torch.tensor([5, 0, 3, 1]),
        "view": torch.full((4,), view),
    }
    return Batch(
        clips=[],
        augment_params=draws,
        num_views=1,
        label_B=torch.zeros(4),
        keys=list("abcd"),
        extra=extra,
    )


def _outputs(
    folder: Path, *, classes: tuple[str, ...] = CLASSES, weights: tuple[str, ...] = WEIGHTS
) -> TeacherLogitCache:
    return TeacherLogitCache(
        folder / "t.bin", TEACHERS, num_views=2, classes=classes, weights=weights
    )


def _ask(outputs: TeacherLogitCache, batch: Batch) -> Tensor:
    return torch.stack([teacher(CLIP) for teacher in outputs.teachers_for(batch, CLIP)])


def test_what_was_asked_once_is_remembered_by_whoever_opens_the_file_next(tmp_path: Path) -> None:
    first = _outputs(tmp_path)
    asked_MBK = _ask(first, _batch())
    assert torch.equal(
        asked_MBK, torch.stack([teacher(CLIP) for teacher in TEACHERS]).half().float()
    )
    again = _outputs(tmp_path)
    assert torch.equal(_ask(again, _batch()), asked_MBK)
    assert (first.num_misses, again.num_misses) == (1, 0)


def test_each_view_and_each_order_of_the_videos_has_its_own_place(tmp_path: Path) -> None:
    outputs = _outputs(tmp_path)
    zero, one = _ask(outputs, _batch(view=0)), _ask(outputs, _batch(view=1))
    batch = _batch()
    turned = dataclasses.replace(
        batch,
        augment_params=batch.augment_params[::-1],
        keys=batch.keys[::-1],
        extra={n: v.flip(0) for n, v in batch.extra.items()},
    )
    assert torch.equal(_ask(outputs, turned), zero.flip(1)) and torch.equal(
        _ask(outputs, _batch(view=1)), one
    )
    assert outputs.num_misses == 2


@pytest.mark.parametrize("changed", [{"flip": True}, {"first_frame": 6}])
def test_another_view_is_never_answered_from_memory(
    tmp_path: Path, changed: dict[str, bool | int]
) -> None:
    outputs = _outputs(tmp_path)
    _ask(outputs, _batch())
    _ask(outputs, _batch(**changed))  # type: ignore[arg-type]
    assert outputs.num_misses == 2


@pytest.mark.parametrize(
    "changed", [{"weights": ("aa", "cc")}, {"classes": ("jump", "run", "sit")}]
)
def test_other_teachers_or_classes_are_asked_anew(
    tmp_path: Path, changed: dict[str, tuple[str, ...]]
) -> None:
    _ask(_outputs(tmp_path), _batch())
    outputs = _outputs(tmp_path, **changed)
    _ask(outputs, _batch())
    assert outputs.num_misses == 1


def test_a_video_of_another_key_is_asked_anew(tmp_path: Path) -> None:
    _ask(_outputs(tmp_path), _batch())
    outputs = _outputs(tmp_path)
    _ask(outputs, dataclasses.replace(_batch(), keys=list("abcx")))
    assert outputs.num_misses == 1


def test_no_damaged_byte_is_ever_believed(tmp_path: Path) -> None:
    asked_MBK = _ask(_outputs(tmp_path), _batch())
    whole = (tmp_path / "t.bin").read_bytes()
    size = 112 + 4 * 2 + 2 * 2 * 3
    assert len(whole) == (2 * 5 + 1) * size  # the last record is that of place 5, view 0
    for at in range(2 * 3 * size, 2 * 3 * size + size):  # the record of place 3
        (tmp_path / "t.bin").write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        outputs = _outputs(tmp_path)
        assert torch.equal(_ask(outputs, _batch()), asked_MBK) and outputs.num_misses == 1
        assert (tmp_path / "t.bin").read_bytes() == whole


@pytest.mark.parametrize("length", [0, 1, 300, 1451])
def test_a_torn_file_is_mended(tmp_path: Path, length: int) -> None:
    asked_MBK = _ask(_outputs(tmp_path), _batch())
    whole = (tmp_path / "t.bin").read_bytes()
    (tmp_path / "t.bin").write_bytes(whole[:length])
    outputs = _outputs(tmp_path)
    assert torch.equal(_ask(outputs, _batch()), asked_MBK) and outputs.num_misses == 1
    assert (tmp_path / "t.bin").read_bytes() == whole


def _ask_for_a_half(folder: Path, rank: int) -> int:
    """Twice, for the clips that this process would have of a batch that two share; how often the
    teachers were asked.
    """
    batch, half, outputs = _batch(), slice(rank, None, 2), _outputs(folder)
    own = dataclasses.replace(
        batch,
        augment_params=batch.augment_params[half],
        keys=batch.keys[half],
        extra={name: value[half] for name, value in batch.extra.items()},
    )
    for _ in range(2):
        outputs.teachers_for(own, CLIP[half])
    return outputs.num_misses


@pytest.mark.xdist_group("team")
def test_two_processes_fill_one_file_each_with_its_own_clips(tmp_path: Path) -> None:
    assert in_two_processes(lambda group: _ask_for_a_half(tmp_path, group.rank), tmp_path) == [1, 1]
    alone = _outputs(tmp_path)
    assert torch.allclose(
        _ask(alone, _batch()),
        torch.stack([teacher(CLIP) for teacher in TEACHERS]),
        rtol=1e-3,
        atol=1e-3,
    )
    assert alone.num_misses == 0
