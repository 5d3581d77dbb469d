"""The weightings of several teachers: their names. The functions are in run/train/weighting.py."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from kdbatch.vocab.extensions.spec_table import SpecTable


@dataclass(frozen=True, kw_only=True)
class WeightingSpec:
    """A weighting. `load` returns the function of one of another distribution."""

    load: Callable[..., Any] | None = None


_BUILT_IN: dict[str, WeightingSpec] = {
    "equal": WeightingSpec(),
    "ae-kd": WeightingSpec(),
    "ca-mkd": WeightingSpec(),
}
WEIGHTING_SPECS = SpecTable(_BUILT_IN, kind=WeightingSpec, group="kdbatch.weightings")
