"""Thousands of changed experiments, profiles and kdbatch.toml: each is read, or one line says why
not. Nothing hangs, nothing is a trace, and no nonsense is planned in silence.

In one process, through the functions that `kdbatch plan` and the commands call.
"""

import contextlib
import copy
import json
import math
import random
import signal
import tomllib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.field_reference import EXAMPLES
from support.inputs import JOBS

from kdbatch.base.errors import UserError
from kdbatch.plan.resolve import make_plan
from kdbatch.vocab.config import Config, load_config

pytestmark = pytest.mark.hostile

SECONDS_PER_CASE = 20  # of a processor, so that other programs do not count; the slowest took 2
HANGS_AFTER = 300  # by the clock
NUM_OF = {"experiment": 500, "profile": 1500, "kdbatch": 3000}
FILES = {
    "experiment": EXAMPLES / "every_field.yaml",
    "profile": EXAMPLES / "profiles" / "every_field.yaml",
    "kdbatch": EXAMPLES / "kdbatch.toml",
}
NONSENSE: tuple[Any, ...] = (
    *(math.nan, math.inf, -math.inf, 1e300, -1e300, 10**399, -(10**399), 2**63, 2.5e9),
    *(-1, -0.5, 0, 1e-320, True, False, None, "", "12", "nan", "x" * 20_000, "\ud800"),
    *("a\x00b", "\x1b[31mred", "a\u2028b", "line\nline", "{", "[/x]", "$nothing", "../../x"),
    *([], {}, [[]], {"a": 1}, [1, "a"], [None]),
)
BYTES = b"\x00\x01\x09\x0a\x0d\x1b\x7f\x80\xff\"'[]{}:,#&*!|>%@`-=.\\0"
SPLICES = ("[" * 2000, "{a: " * 1500, "9" * 5000, "0x" + "f" * 6000, "&a [*a]", "!!python/name:os")
SPLICES += ("\ufeff", "!!bool x", "1:" * 300 + "1.5", "\u2028", "x" * 20_000, "<<: 3", '"\\ud800"')


SMALL_EXPERIMENT = """\
name: every_field
title: A small one
vary: {network: [shufflenet_2x, r21d_10], size: [10k, 30k]}
teachers:
  T1:
    {title: T1, backbone: $network, target: ucf101,
     pretrain: {task: rspnet, dataset: k400, subset: $size}}
student: {title: S, backbone: $network, target: ucf101, teachers: [T1]}
"""


@dataclass
class Outcome:
    """The outcomes of the cases so far; `faults` are what must not happen."""

    counts: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)


@contextlib.contextmanager
def time_limit(seconds: int) -> Iterator[None]:
    def late(number: int, _: object) -> None:
        raise TimeoutError(f"{signal.Signals(number).name}: took more than {seconds} s")

    timers = {signal.SIGPROF: signal.ITIMER_PROF, signal.SIGALRM: signal.ITIMER_REAL}
    before = {number: signal.signal(number, late) for number in timers}
    signal.setitimer(signal.ITIMER_PROF, seconds)
    signal.setitimer(signal.ITIMER_REAL, HANGS_AFTER)
    try:
        yield
    finally:
        for number, timer in timers.items():
            signal.setitimer(timer, 0)
            signal.signal(number, before[number])


def places(raw: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [path] if path else []
    if isinstance(raw, dict | list):
        for key, value in raw.items() if isinstance(raw, dict) else enumerate(raw):
            found += places(value, (*path, key))
    return found


def with_value(raw: Any, path: tuple[Any, ...], value: Any) -> Any:
    copied = holder = copy.deepcopy(raw)
    for step in path[:-1]:
        holder = holder[step]
    holder[path[-1]] = value
    return copied


def as_yaml(raw: Any) -> str:
    """JSON is YAML, but for the names of what is no finite number."""
    return json.dumps(raw).replace("Infinity", ".inf").replace("NaN", ".nan")


def as_toml(raw: Any) -> str:
    """A table in one line of TOML; what TOML has not is written as it is, which is a mistake."""
    if isinstance(raw, dict):
        return "{" + ", ".join(f"{json.dumps(k)} = {as_toml(v)}" for k, v in raw.items()) + "}"
    if isinstance(raw, list):
        return "[" + ", ".join(map(as_toml, raw)) + "]"
    if isinstance(raw, float) and not math.isfinite(raw):
        return str(raw)
    return "none" if raw is None else json.dumps(raw)


def as_text(kind: str, raw: Any) -> str:
    if kind != "kdbatch":
        return as_yaml(raw)
    return "".join(f"{key} = {as_toml(value)}\n" for key, value in raw.items())


def mutated(kind: str, text: str, raw: Any, rng: random.Random) -> bytes:
    """One change: of a value, of a line, or of bytes."""
    way = rng.randrange(6)
    if way < 3:
        path = rng.choice(places(raw))
        return as_text(kind, with_value(raw, path, rng.choice(NONSENSE))).encode()
    lines = text.splitlines(keepends=True)
    at = rng.randrange(len(lines))
    if way == 3:
        other = rng.choice(lines)
        lines[at : at + 1] = rng.choice(([], [lines[at]] * 2, [other], [" " + lines[at]]))
        return "".join(lines).encode()
    if way == 4:
        splice = rng.choice(SPLICES)
        where = rng.randrange(len(lines[at]) + 1)
        lines[at] = lines[at][:where] + splice + lines[at][where:]
        return "".join(lines).encode()
    data = bytearray(text.encode())
    for _ in range(rng.randint(1, 3)):
        data[rng.randrange(len(data))] = rng.choice(BYTES)
    return bytes(data[: rng.randrange(len(data))] if rng.random() < 0.1 else data)


def numbers_of(value: Any) -> Iterator[float]:
    """Every number in nested dataclasses, lists and mappings."""
    if isinstance(value, dict):
        value = list(value.values())
    elif hasattr(value, "__dataclass_fields__"):
        value = [getattr(value, name) for name in value.__dataclass_fields__]
    if isinstance(value, list | tuple):
        for item in value:
            yield from numbers_of(item)
    elif isinstance(value, int | float):
        yield value


def is_nonsense(planned: Any) -> bool:
    return any(
        (isinstance(number, float) and not math.isfinite(number)) or abs(number) > 1e13
        for number in numbers_of(planned)
    )


def try_case(outcome: Outcome, read: Callable[[], Any], path: Path, shown: str) -> None:
    try:
        with time_limit(SECONDS_PER_CASE):
            value = read()
    except UserError as error:
        text = str(error)
        outcome.counts["refused"] += 1
        if "\n" in text or len(text) > 1200 or not text.startswith(str(path.parent.parent)):
            outcome.faults.append(f"{shown}: {text[:300]!r}")
        return
    except BaseException as error:
        outcome.faults.append(f"{shown}: {type(error).__name__}: {str(error)[:200]}")
        return
    outcome.counts["read"] += 1
    if is_nonsense(value):
        outcome.faults.append(f"{shown}: is read with a number that nobody means")


@pytest.mark.parametrize("kind", FILES)
def test_a_mutated_file_is_read_or_refused_in_one_line(
    kind: str, rng: random.Random, sharded: Callable[..., Config], in_tmp: Path
) -> None:
    config = sharded(k400=240_000, ssv2=168_000, ucf101=13_320, hmdb51=6766)
    jobs = in_tmp / "study" / "jobs"
    paths = {
        "experiment": jobs / "every_field.yaml",
        "profile": jobs / "profiles" / "every_field.yaml",
        "kdbatch": in_tmp / "study" / "kdbatch.toml",
    }
    paths["profile"].parent.mkdir(parents=True)
    for name, path in paths.items():
        path.write_bytes(FILES[name].read_bytes())
    if kind == "profile":  # the smallest experiment that uses all of it is read much faster
        paths["experiment"].write_text(SMALL_EXPERIMENT, encoding="utf-8")
    text = FILES[kind].read_text(encoding="utf-8")
    raw = tomllib.loads(text) if kind == "kdbatch" else yaml.load(text, Loader=yaml.CSafeLoader)

    def read() -> Any:
        if kind == "kdbatch":
            return load_config(paths["kdbatch"])
        plan = make_plan([paths["experiment"]], profile="every_field", config=config)
        return [planned.run for planned in plan.runs]

    outcome = Outcome()
    for number in range(NUM_OF[kind]):
        data = mutated(kind, text, raw, rng)
        paths[kind].write_bytes(data)
        try_case(outcome, read, jobs / "x", f"{kind} {number}")
        if len(outcome.faults) > 20:
            break
    assert outcome.faults == []
    assert outcome.counts["refused"] > NUM_OF[kind] / 3 and outcome.counts["read"] > 15


def test_the_shipped_files_are_read_without_a_change() -> None:
    for path in sorted(JOBS.glob("*.yaml")):
        for profile in ("micro", "toy", "h200", "paper"):
            assert make_plan([path], profile=profile, config=Config()).runs
