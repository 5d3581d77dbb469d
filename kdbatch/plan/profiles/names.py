"""Checks that the names in a profile's `leave_out`, `keep` and `subsets` mean something."""

import functools
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from kdbatch.base.errors import UserError
from kdbatch.base.lookup import did_you_mean
from kdbatch.base.reading.shown_values import shown
from kdbatch.base.reading.video_counts import check_video_count
from kdbatch.plan.shipped_jobs import SHIPPED_JOBS
from kdbatch.plan.specs import Probe
from kdbatch.plan.yaml_loader import load_yaml


@dataclass(frozen=True)
class _Names:
    """Names in an experiment file that a profile may use: controls and probes, axes, sizes of
    subsets.
    """

    controls: frozenset[str]
    axes: frozenset[str]
    sizes: frozenset[str]


def check_profile_names(
    *,
    leave_out: Collection[str],
    keep: Collection[str],
    subsets: Mapping[str, str],
    experiment: Path,
    where: str,
) -> None:
    """Checks each name against the experiment, those next to it and those that kdbatch brings: a
    profile is for several experiments, so a name need not be in each of them.

    Raises:
        UserError: no experiment has such a control, axis or size, or a size is none.
    """
    for size, instead in subsets.items():
        for text in (size, instead):
            check_video_count(text, where=f"{where}: subsets.{shown(size).strip(chr(39))}")
    _check(leave_out, "controls", "control or probe", f"{where}: leave_out", experiment)
    _check(keep, "axes", "axis in vary", f"{where}: keep", experiment)
    _check(subsets, "sizes", "subset", f"{where}: subsets", experiment)


def _check(names: Collection[str], group: str, noun: str, where: str, experiment: Path) -> None:
    waiting, known = dict.fromkeys(names), dict.fromkeys(())
    for path in _experiments(experiment) if waiting else ():
        found = getattr(_names_of(path, _changed_at(path)), group)
        known |= dict.fromkeys(sorted(found))
        waiting = {name: None for name in waiting if name not in found}
        if not waiting:
            return
    for name in waiting:
        listed = [k for k in known if group != "sizes" or k[-1:] in ("k", "m", "%")]
        raise UserError(
            f"{where}: no experiment has the {noun} {shown(name)}.{did_you_mean(name, listed)} "
            f"Known: {', '.join(listed)}."
        )


def _experiments(experiment: Path) -> Iterator[Path]:
    yield experiment
    yield from sorted(experiment.parent.glob("*.yaml"))
    yield from sorted(SHIPPED_JOBS.glob("*.yaml"))


def _changed_at(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


@functools.lru_cache(maxsize=256)
def _names_of(path: Path, changed_at: int) -> _Names:
    """The names in a file, none in one that is no experiment; read again when it has changed."""
    raw: dict[str, Any] = {}
    with suppress(UserError):
        raw = load_yaml(path)
    controls, axes = raw.get("controls"), raw.get("vary")
    own = map(str, controls if isinstance(controls, dict) else ())
    return _Names(
        controls=frozenset((*own, *get_args(Probe))),
        axes=frozenset(map(str, axes if isinstance(axes, dict) else ())),
        sizes=frozenset(_texts(raw)),
    )


def _texts(raw: Any) -> Iterator[str]:
    """Every text and number in nested lists and mappings, as text."""
    if isinstance(raw, dict):
        for value in raw.values():
            yield from _texts(value)
    elif isinstance(raw, list):
        for value in raw:
            yield from _texts(value)
    elif isinstance(raw, str | int | float):
        yield str(raw)
