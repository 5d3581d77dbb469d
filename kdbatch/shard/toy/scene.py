"""Draws the frames of the toy videos. Axes: T frames, H rows, W columns, 3 RGB channels.

A class is an appearance (shape, texture, hue) and a motion; neither alone determines it. Everything
else varies from video to video, independently of the class: background hues and blotches, light,
tilt, phase, a slow tint, and bubbles that rise one after the other and gather at the top.

The cues for each pretext task:
    RotNet  light falls from above, the ground is below a horizon, bubbles rise: a scene has one
            upright orientation.
    VCOP    bubbles rise, grow and gather, so their number only increases; objects fall fast and
            rise slowly, swell slowly and collapse fast.
    PRP     every motion has the same period and bubbles have the same speed, to within 8 %, so a
            speed-up is visible.
    RSPNet  the same for its speed; background, tint and object for its appearance.
    CVRL    background and object stay the same within a video and differ between videos.
    TDL     two moments of a video differ in the positions of the object and the bubbles.
A horizontal flip changes no class.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

SCENE_FPS = 25  # the frames per second that all lengths and speeds in frames are counted in
PERIOD_FRAMES = 25
BUBBLE_SPEED = 0.2 / 25  # frame heights per frame
# Frame heights that a bubble rises; it stays there, visible in every crop of 7/8. Then the next one
# starts, on the other side.
BUBBLE_JOURNEY = 0.84
BUBBLE_RADIUS, BUBBLE_GROWTH = 0.06, 0.12  # frame heights at the bottom, and per frame height risen

Texture = Literal["striped", "checkered", "dotted", "ringed"]


@dataclass(frozen=True, kw_only=True)
class Appearance:
    """The moving object. `hue` is in turns of the colour circle; `adjective` names the texture."""

    noun: str
    adjective: Texture
    hue: float


@dataclass(frozen=True, kw_only=True)
class Scene:
    """One video.

    `group_seed` seeds the background, which the videos of a group share; `video_seed` seeds the
    rest. A video of another rate than SCENE_FPS shows the same motion in as many seconds.
    """

    appearance: str
    motion: str
    style: Literal["dark", "light"]
    group_seed: int
    video_seed: int
    num_frames: int
    width: int
    height: int
    fps: int = SCENE_FPS


@dataclass(frozen=True)
class Pose:
    """An object's centre, relative to the frame's centre, and its radius, in frame heights."""

    x: float
    y: float
    radius: float


APPEARANCES: dict[str, Appearance] = {
    "ball": Appearance(noun="ball", adjective="striped", hue=0.03),
    "box": Appearance(noun="box", adjective="checkered", hue=0.60),
    "cone": Appearance(noun="cone", adjective="dotted", hue=0.16),
    "cross": Appearance(noun="cross", adjective="ringed", hue=0.36),
}


def _ramp(phase: float, slow: float = 0.7) -> float:
    """0 -> 1 during the slow share of a period, 1 -> 0 during the rest: time has an arrow."""
    phase %= 1.0
    if phase < slow:
        return 0.5 - 0.5 * math.cos(math.pi * phase / slow)
    return 0.5 + 0.5 * math.cos(math.pi * (phase - slow) / (1 - slow))


def _bouncing(phase: float, side: int) -> Pose:
    return Pose(0.0, 0.27 - 0.54 * _ramp(phase), 0.18)


def _sliding(phase: float, side: int) -> Pose:
    return Pose(side * (0.36 - 0.72 * _ramp(phase)), 0.04, 0.18)


def _swelling(phase: float, side: int) -> Pose:
    return Pose(0.0, 0.04, 0.10 + 0.22 * _ramp(phase))


def _circling(phase: float, side: int) -> Pose:
    angle = 2 * math.pi * phase
    return Pose(side * 0.25 * math.cos(angle), 0.02 + 0.25 * math.sin(angle), 0.18)


MOTIONS: dict[str, Callable[[float, int], Pose]] = {
    "bouncing": _bouncing,
    "sliding": _sliding,
    "swelling": _swelling,
    "circling": _circling,
}


def draw_frames(scene: Scene) -> Iterator[np.ndarray]:
    """Draw the frames of a scene, uint8 HW3."""
    rng = np.random.default_rng([scene.video_seed, 1])
    background_HW3 = _background(np.random.default_rng([scene.group_seed]), scene)
    tint_3 = rng.uniform(-0.10, 0.10, 3)
    phase, speed = rng.uniform(), rng.uniform(0.92, 1.08) / PERIOD_FRAMES
    side, tilt = int(rng.choice((-1, 1))), rng.uniform(-0.25, 0.25)
    centre_x = scene.width / 2 + rng.uniform(-8, 8)
    centre_y = scene.height / 2 + rng.uniform(-4, 4)
    colours_23 = _object_colours(scene, rng.uniform(-0.03, 0.03))
    is_left = rng.uniform() < 0.5
    bubble_x = scene.width * (rng.uniform(0.14, 0.30) if is_left else rng.uniform(0.70, 0.86))
    bubble_23 = np.stack([_rgb(rng.uniform(), 0.35, 235), _rgb(rng.uniform(), 0.35, 235)])
    appearance = APPEARANCES[scene.appearance]
    for index in range(scene.num_frames):
        time = index * SCENE_FPS / scene.fps
        drift_3 = 1 + tint_3 * (index / scene.num_frames)
        frame_HW3 = background_HW3 * drift_3.astype(np.float32)
        for number, risen in enumerate(_bubbles(BUBBLE_SPEED * time * speed * PERIOD_FRAMES)):
            x = scene.width - bubble_x if number % 2 else bubble_x
            y = scene.height * (0.98 - risen)
            radius = scene.height * (BUBBLE_RADIUS + BUBBLE_GROWTH * risen)
            _draw_object(frame_HW3, x, y, radius, "ball", "ringed", 0.0, bubble_23)
        pose = MOTIONS[scene.motion](phase + time * speed, side)
        x, y = centre_x + pose.x * scene.height, centre_y + pose.y * scene.height
        radius = pose.radius * scene.height
        shape, texture = appearance.noun, appearance.adjective
        _draw_object(frame_HW3, x, y, radius, shape, texture, tilt, colours_23)
        yield np.clip(frame_HW3, 0, 255).astype(np.uint8)


def _bubbles(risen: float) -> list[float]:
    """How far each bubble has risen, in frame heights, if in turn all have risen `risen`."""
    return [BUBBLE_JOURNEY] * int(risen / BUBBLE_JOURNEY) + [risen % BUBBLE_JOURNEY]


def _background(rng: np.random.Generator, scene: Scene) -> np.ndarray:
    """Sky that darkens downwards, ground below the horizon, blotches; float32 HW3."""
    height, width = scene.height, scene.width
    row_H11 = (np.arange(height, dtype=np.float32) / height)[:, None, None]
    horizon = rng.uniform(0.68, 0.78)
    top, low, ground = (250, 205, 150) if scene.style == "light" else (175, 95, 45)
    colour = 0.12 if scene.style == "light" else 0.45
    sky_3, ground_3 = _rgb(rng.uniform(), colour, 1.0), _rgb(rng.uniform(), colour, 1.0)
    light_H11 = np.where(row_H11 < horizon, top + (low - top) * row_H11 / horizon, ground)
    flat_HW3 = np.where(row_H11 < horizon, sky_3, ground_3) * light_H11
    coarse_YX1 = rng.uniform(-1, 1, (5, 7)).astype(np.float32)
    rows = np.minimum(np.arange(height) * 5 // height, 4)
    columns = np.minimum(np.arange(width) * 7 // width, 6)
    blotches_HW1 = coarse_YX1[rows][:, columns, None] * (10 if scene.style == "light" else 18)
    background_HW3 = np.broadcast_to(flat_HW3 + blotches_HW1, (height, width, 3))
    return background_HW3.astype(np.float32) * np.float32(rng.uniform(0.88, 1.08))


def _object_colours(scene: Scene, shift: float) -> np.ndarray:
    """The two colours of the texture, 23; the light style has pale opposite hues on near-black."""
    hue = APPEARANCES[scene.appearance].hue + shift
    if scene.style == "light":
        return np.stack([_rgb(hue + 0.5, 0.45, 225), _rgb(hue + 0.5, 0.45, 60)])
    return np.stack([_rgb(hue, 0.9, 255), _rgb(hue, 0.1, 250)])


def _rgb(hue: float, saturation: float, value: float) -> np.ndarray:
    """One colour, 3 numbers from 0 to `value`."""
    turn_3 = np.abs((hue + np.array([0.0, 2 / 3, 1 / 3])) % 1 * 6 - 3) - 1
    return value * (1 - saturation + saturation * np.clip(turn_3, 0, 1))


def _distance(shape: str, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Signed distance to a shape's edge, in radii: below 0 inside."""
    if shape == "ball":
        return np.hypot(u, v) - 1
    if shape == "box":
        return np.maximum(np.abs(u), np.abs(v)) - 0.85
    if shape == "cone":
        return np.maximum(0.9 * np.abs(u) - 0.45 * v - 0.45, v - 0.8)
    vertical_bar = np.maximum(np.abs(u) - 0.38, np.abs(v) - 1)
    horizontal_bar = np.maximum(np.abs(v) - 0.38, np.abs(u) - 1)
    return np.minimum(vertical_bar, horizontal_bar)


def _texture_mask(texture: Texture, u: np.ndarray, v: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """The pixels where the texture has its first colour."""
    if texture == "striped":
        return np.sin(7 * u) > 0
    if texture == "checkered":
        return np.sin(5 * u) * np.sin(5 * v) > 0
    if texture == "dotted":
        return np.cos(8 * u) + np.cos(8 * v) < 0.8
    return inside > -0.25


def _draw_object(
    frame_HW3: np.ndarray,
    x: float,
    y: float,
    radius: float,
    shape: str,
    texture: Texture,
    tilt: float,
    colours_23: np.ndarray,
) -> None:
    """Draw one object into the frame, smooth at its edge, with a dark outline."""
    height, width = frame_HW3.shape[:2]
    reach = int(radius * 1.4) + 2
    top, bottom = max(0, int(y) - reach), min(height, int(y) + reach + 1)
    left, right = max(0, int(x) - reach), min(width, int(x) + reach + 1)
    if top >= bottom or left >= right:
        return
    dy = (np.arange(top, bottom, dtype=np.float32)[:, None] - y) / radius
    dx = (np.arange(left, right, dtype=np.float32)[None, :] - x) / radius
    u, v = dx * math.cos(tilt) + dy * math.sin(tilt), dy * math.cos(tilt) - dx * math.sin(tilt)
    inside = _distance(shape, u, v)
    colour_YX3 = np.where(
        _texture_mask(texture, u, v, inside)[..., None], colours_23[0], colours_23[1]
    )
    colour_YX3 = np.where(inside[..., None] > -0.09, 20.0, colour_YX3)
    cover_YX1 = np.clip(0.5 - inside * radius, 0, 1)[..., None]
    patch = frame_HW3[top:bottom, left:right]
    patch += cover_YX1 * (colour_YX3 - patch)
