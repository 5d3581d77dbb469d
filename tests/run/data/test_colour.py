import colorsys

import numpy as np
import pytest
import torch

from kdbatch.run.data.augment import MEAN, STD, apply_augment
from kdbatch.run.data.augment_params import AugmentParams
from kdbatch.run.data.colour import apply_colour, shift_hue, to_gray
from tests.support.colour_values import colour_values

BOX = (0, 0, 8, 8)


def _clip(seed: int = 0, num: int = 1) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).random((num, 3, 2, 8, 8), dtype=np.float32))


@pytest.mark.parametrize("turn", [-0.5, -0.4, -0.1, 0.0, 0.25, 0.4, 0.5])
def test_the_hue_is_rotated_as_by_colorsys(turn: float) -> None:
    rng = np.random.default_rng(0)
    ties = rng.integers(0, 3, (200, 3)) / 2  # two channels equal, greys, black, white, pure colours
    colour_NC = np.concatenate([rng.random((200, 3)), ties, np.eye(3), 1 - np.eye(3)])
    expected = []
    for r, g, b in colour_NC:
        h, s, v = colorsys.rgb_to_hsv(r, g, b)
        expected.append(colorsys.hsv_to_rgb((h + turn) % 1, s, v))
    clip = torch.from_numpy(colour_NC).T.reshape(1, 3, 1, 1, -1)
    got = shift_hue(clip, torch.full((1, 1, 1, 1, 1), turn, dtype=torch.float64))
    assert np.allclose(got.reshape(3, -1).T.numpy(), expected, atol=1e-9)


def test_a_rotation_by_zero_changes_no_colour() -> None:
    clip = _clip()
    assert torch.allclose(shift_hue(clip, torch.zeros(1, 1, 1, 1, 1)), clip, atol=1e-6)


def _slow(clip_CTHW: np.ndarray, draw: AugmentParams) -> np.ndarray:
    """Pixel by pixel, from the definitions."""
    out = clip_CTHW.astype(np.float64).copy()
    for t in range(out.shape[1]):
        frame = [np.clip(pixel * draw.brightness, 0, 1) for pixel in out[:, t].reshape(3, -1).T]
        mean = np.mean([0.299 * r + 0.587 * g + 0.114 * b for r, g, b in frame])
        frame = [np.clip(mean + (pixel - mean) * draw.contrast, 0, 1) for pixel in frame]
        for i, pixel in enumerate(frame):
            luma = pixel @ (0.299, 0.587, 0.114)
            pixel = np.clip(luma + (pixel - luma) * draw.saturation, 0, 1)
            h, s, v = colorsys.rgb_to_hsv(*pixel)
            pixel = np.array(colorsys.hsv_to_rgb((h + draw.hue) % 1, s, v))
            frame[i] = np.full(3, pixel @ (0.299, 0.587, 0.114)) if draw.gray else pixel
        out[:, t] = np.array(frame).T.reshape(3, *out.shape[2:])
    return out


def _colour_factors(rng: np.random.Generator) -> tuple[float, float, float, float]:
    brightness, contrast, saturation = rng.uniform(0.6, 1.4, 3).tolist()
    return brightness, contrast, saturation, float(rng.uniform(-0.5, 0.5))


def test_a_batch_is_coloured_as_pixel_by_pixel() -> None:
    rng = np.random.default_rng(3)
    draws = [AugmentParams(BOX, False, bool(i % 3 == 0), *_colour_factors(rng)) for i in range(6)]
    clip = _clip(num=6)
    expected = np.stack([_slow(c.numpy(), d) for c, d in zip(clip, draws, strict=True)])
    assert np.allclose(
        apply_colour(clip.clone(), **colour_values(draws)).numpy(), expected, atol=1e-5
    )


def test_neutral_parameters_change_no_pixel() -> None:
    clip = torch.randint(0, 256, (2, 16, 16, 3), dtype=torch.uint8)
    params = AugmentParams((0, 0, 16, 16), False, False)
    found = apply_augment([clip, clip], [params] * 2, size_pixels=16, device=torch.device("cpu"))
    mean, std = (torch.tensor(v).view(3, 1, 1, 1) for v in (MEAN, STD))
    assert torch.equal(found[1], (clip.permute(3, 0, 1, 2) / 255 - mean) / std)


def test_grey_weighs_the_channels_as_luma_does() -> None:
    clip = torch.eye(3).view(1, 3, 1, 1, 3)
    assert to_gray(clip).flatten().tolist() == pytest.approx([0.299, 0.587, 0.114])
