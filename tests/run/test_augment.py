import colorsys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kdbatch.run.augment import MEAN, STD, Draw, apply_draws, cut, draw_augment, gray_of, turn_hue
from kdbatch.vocab.tasks import TASKS
from kdbatch.vocab.views import CENTER, Augment

CPU = torch.device("cpu")


def _clip(seed: int = 0, height: int = 20, width: int = 30) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (4, height, width, 3), dtype=np.uint8)


def _plain(clip_BCTHW: torch.Tensor) -> torch.Tensor:
    """Undo the normalisation."""
    return clip_BCTHW * torch.tensor(STD).view(3, 1, 1, 1) + torch.tensor(MEAN).view(3, 1, 1, 1)


def test_the_centre_view_is_the_largest_square_untouched() -> None:
    clip = _clip()
    draw = draw_augment(CENTER, height=20, width=30, rng=np.random.default_rng(0))
    out = _plain(apply_draws([torch.from_numpy(cut(clip, draw))], [draw], size_pixels=20, device=CPU))
    assert torch.allclose(out[0], torch.from_numpy(clip[:, :, 5:25]).permute(3, 0, 1, 2) / 255, atol=1e-6)


@given(st.integers(8, 200), st.integers(8, 200), st.integers(0, 2**32))
def test_a_drawn_box_lies_in_the_frame_and_has_the_asked_area(height: int, width: int, seed: int) -> None:
    draw = draw_augment(Augment(min_area=0.25), height=height, width=width, rng=np.random.default_rng(seed))
    top, left, h, w = draw.box
    assert top >= 0 and left >= 0 and h > 0 and w > 0 and top + h <= height and left + w <= width
    assert h * w >= 0.25 * height * width * 0.8 or h == w == min(height, width)


def test_equal_frames_stay_equal_whatever_is_drawn() -> None:
    still = np.repeat(_clip()[:1], 4, axis=0)
    for seed in range(10):
        draw = draw_augment(TASKS["rspnet"].augment, height=20, width=30, rng=np.random.default_rng(seed))
        out = apply_draws([torch.from_numpy(cut(still, draw))], [draw], size_pixels=16, device=CPU)
        assert torch.allclose(out, out[:, :, :1].expand_as(out), atol=1e-5)


def test_clips_of_a_batch_are_independent() -> None:
    draws = [draw_augment(TASKS["rspnet"].augment, height=20, width=30, rng=np.random.default_rng(s)) for s in range(6)]
    clips = [torch.from_numpy(cut(_clip(s), d)) for s, d in enumerate(draws)]
    together = apply_draws(clips, draws, size_pixels=16, device=CPU)
    for b in range(6):
        alone = apply_draws(clips[b : b + 1], draws[b : b + 1], size_pixels=16, device=CPU)
        assert torch.allclose(together[b], alone[0], atol=1e-5)


def test_a_flip_mirrors_and_grey_has_three_equal_channels() -> None:
    clip = torch.from_numpy(_clip(height=16, width=16))
    box = (0, 0, 16, 16)
    plain, flipped, gray = (
        _plain(apply_draws([clip], [Draw(box, bool(f), bool(g))], size_pixels=16, device=CPU)) for f, g in ((0, 0), (1, 0), (0, 1))
    )
    assert torch.equal(flipped, plain.flip(-1))
    assert torch.allclose(gray[:, 0], gray[:, 1], atol=1e-6) and torch.allclose(gray[:, :1], gray_of(plain), atol=1e-6)


@pytest.mark.parametrize("turn", [-0.4, -0.1, 0.0, 0.25, 0.4])
def test_the_hue_turns_as_colorsys_turns_it(turn: float) -> None:
    colour_NC = np.concatenate([np.random.default_rng(0).random((200, 3)), np.eye(3), np.ones((1, 3)), np.zeros((1, 3))])
    expected = []
    for r, g, b in colour_NC:
        h, s, v = colorsys.rgb_to_hsv(r, g, b)
        expected.append(colorsys.hsv_to_rgb((h + turn) % 1, s, v))
    clip = torch.from_numpy(colour_NC).T.reshape(1, 3, 1, 1, -1)
    got = turn_hue(clip, torch.full((1, 1, 1, 1, 1), turn, dtype=torch.float64))
    assert np.allclose(got.reshape(3, -1).T.numpy(), expected, atol=1e-9)


def test_brightness_contrast_and_saturation_follow_their_formulas() -> None:
    clip = torch.from_numpy(_clip(height=16, width=16))
    box = (0, 0, 16, 16)
    x = _plain(apply_draws([clip], [Draw(box, False, False)], size_pixels=16, device=CPU))
    bright, contrast, saturated = (
        _plain(apply_draws([clip], [Draw(box, False, False, **{name: 0.6})], size_pixels=16, device=CPU))
        for name in ("brightness", "contrast", "saturation")
    )
    mean = gray_of(x).mean(dim=(-1, -2), keepdim=True)
    assert torch.allclose(bright, x * 0.6, atol=1e-5)
    assert torch.allclose(contrast, 0.6 * x + 0.4 * mean, atol=1e-5)
    assert torch.allclose(saturated, 0.6 * x + 0.4 * gray_of(x), atol=1e-5)
