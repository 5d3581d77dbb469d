"""Lengths in points, anchors of texts, outlines of markers and colours of matrices."""

import math
from functools import cache

import numpy as np

from kdbatch.report.figures.drawing import MISSING_COLOUR, ColourMap, Picture, Point

FARTHEST = 1e4  # points from the corner: what lies farther is drawn there
# Heights above the baseline in DejaVu Sans, in units of the size: capitals, half of them, and how
# far letters reach below it.
ANCHORS = {"top": 0.73, "middle": 0.365, "baseline": 0.0, "bottom": -0.24}
ALIGNMENTS = {"left": 0.0, "center": 0.5, "right": 1.0}

# Each map at 18 even places, taken from matplotlib 3.11; linear between them.
_STOPS: dict[ColourMap, str] = {
    "viridis": "440154 481769 472a7a 433d84 3d4e8a 355e8d 2e6d8e 297b8e 23898e"
    " 1f978b 21a585 2eb37c 46c06f 65cb5e 89d548 b0dd2f d8e219 fde725",
    "cividis": "00224e 002d68 163770 2e416d 3f4c6c 4e566c 5c616e 696b71 767676"
    " 838179 928c78 a09875 afa471 bfb06b cfbd62 dfca57 f0d846 fee838",
    "RdBu_r": "053061 15508d 276eb0 3b88be 5fa5cd 8dc2dc b3d6e8 d5e7f1 ecf2f5"
    " f9efe9 fcdecd f9c2a7 f2a17f e17860 ce4f45 b82531 930e26 67001f",
}
NUM_COLOURS = 255  # and one more for what was not measured
MARKER_EDGE_POINTS = 0.6


def points_of(place: Point) -> Point:
    """A place in points instead of inches."""
    x, y = (max(-FARTHEST, min(FARTHEST, 72 * length)) for length in place)
    return x, y


@cache
def palette(colours: ColourMap) -> np.ndarray:
    """The colours of a map as bytes (256, 3); the last one is of what was not measured."""
    stops = np.array([tuple(bytes.fromhex(stop)) for stop in _STOPS[colours].split()], float)
    places = np.linspace(0, len(stops) - 1, NUM_COLOURS)
    channels = [np.interp(places, range(len(stops)), channel) for channel in stops.T]
    missing = tuple(bytes.fromhex(MISSING_COLOUR[1:]))
    return np.vstack([np.stack(channels, axis=1), missing]).round().astype(np.uint8)


def share_of_limits(mark: Picture) -> np.ndarray:
    """The entries (L, M) of a matrix, from 0 at the lower limit to 1 at the upper one.

    A number outside the limits is shown as the limit: an unbiased CKA may be below 0.
    """
    low, high = mark.limits
    return np.clip((mark.value_LM - low) / (high - low), 0.0, 1.0)


def colour_indexes(mark: Picture) -> np.ndarray:
    """The place in the palette of each entry (L, M) of a matrix."""
    share_LM = share_of_limits(mark)
    index_LM = np.where(np.isnan(share_LM), NUM_COLOURS, share_LM * (NUM_COLOURS - 1))
    return index_LM.round().astype(np.uint8)


@cache
def outline(shape: str) -> tuple[Point, ...]:
    """The corners of a marker that is one unit wide, about its middle."""
    return _OUTLINES[shape]


def _regular(corners: int, *, inner: float = 1.0) -> tuple[Point, ...]:
    """A polygon with a corner at the top; of a star, every other corner lies at `inner`."""
    places = []
    for i in range(corners):
        angle, radius = math.tau * (i / corners + 0.25), 0.5 * (inner if i % 2 else 1.0)
        places.append((radius * math.cos(angle), radius * math.sin(angle)))
    return tuple(places)


_THIRD = 1 / 6
_PLUS = (
    *((_THIRD, 0.5), (_THIRD, _THIRD), (0.5, _THIRD), (0.5, -_THIRD), (_THIRD, -_THIRD)),
    *((_THIRD, -0.5), (-_THIRD, -0.5), (-_THIRD, -_THIRD), (-0.5, -_THIRD)),
    *((-0.5, _THIRD), (-_THIRD, _THIRD), (-_THIRD, 0.5)),
)
_OUTLINES: dict[str, tuple[Point, ...]] = {
    "o": _regular(24),
    "s": ((-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5)),
    "D": _regular(4),
    "^": ((0.0, 0.5), (-0.5, -0.5), (0.5, -0.5)),
    "v": ((0.0, -0.5), (-0.5, 0.5), (0.5, 0.5)),
    "P": _PLUS,
    "X": tuple(((x - y) * 0.75, (x + y) * 0.75) for x, y in _PLUS),
    "*": _regular(10, inner=0.4),
    "h": _regular(6),
}
