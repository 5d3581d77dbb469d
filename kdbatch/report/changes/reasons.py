"""Reasons why a number or a claim moved: seeds, recipes, videos, code or statistics."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from kdbatch.base.text import plural
from kdbatch.report.changes.compared_report import CellKey, ComparedReport, UsedRun
from kdbatch.report.data.superseded import MAX_DIFFERENCES

_MAX_CHARS, _MAX_SEEDS = 24, 6
UNKNOWN = "nothing that report.json records: see the warnings of both reports"
_TEST_VIDEOS = "evaluation.test."


@dataclass(frozen=True, kw_only=True)
class Reasons:
    """Compares the runs of an `old` report with those of a `new` one."""

    old: ComparedReport
    new: ComparedReport
    known: dict[tuple[str, str], tuple[str, ...]] = field(default_factory=dict)

    def of_runs(
        self, before: Mapping[CellKey, UsedRun], now: Mapping[CellKey, UsedRun]
    ) -> Iterator[str]:
        """Yield how the runs behind a number differ; a text may come several times."""
        seeds = [sorted({seed for _, _, seed, _ in cells}) for cells in (before, now)]
        if seeds[0] != seeds[1]:
            yield f"seeds {_seeds_text(seeds[0])}, now {_seeds_text(seeds[1])}"
        elif before.keys() != now.keys():
            yield f"{plural(len(before), 'finished run')}, now {len(now)}"
        for key, run in before.items():
            if key in now:
                yield from self._of_run(run, now[key])

    def _of_run(self, before: UsedRun, now: UsedRun) -> tuple[str, ...]:
        pair = before.run_id, now.run_id
        if pair not in self.known:
            self.known[pair] = ()  # ends the recursion in a cycle of a damaged file
            self.known[pair] = tuple(dict.fromkeys(self._differences(before, now)))
        return self.known[pair]

    def _differences(self, before: UsedRun, now: UsedRun) -> Iterator[str]:
        if before.run_id == now.run_id:
            if before.results != now.results:
                yield f"{now.kind}: the same recipe was run again, with other results"
            return
        old_recipe, new_recipe = self.old.recipe(before), self.new.recipe(now)
        if old_recipe is None or new_recipe is None:
            yield f"{now.kind}: another run, of which no recipe is known"
            return
        found = [*_changed_fields(now.kind, old_recipe, new_recipe)]
        if before.code != now.code:
            found.append(f"{now.kind}: other code of other packages")
        if len(before.parents) != len(now.parents):
            counts = f"{plural(len(before.parents), 'parent')}, now {len(now.parents)}"
            found.append(f"{now.kind}: {counts}")
        else:
            for old_id, new_id in zip(before.parents, now.parents, strict=True):
                old, new = self.old.runs.get(old_id), self.new.runs.get(new_id)
                if old_id != new_id and old and new:
                    found += self._of_run(old, new)
        yield from found or [f"{now.kind}: kdbatch's version of recipes"]


def joined(reasons: Iterator[str]) -> str:
    """Return the different reasons in one line, at most MAX_DIFFERENCES of them."""
    texts = list(dict.fromkeys(reasons)) or [UNKNOWN]
    more = len(texts) - MAX_DIFFERENCES
    return "; ".join(texts[:MAX_DIFFERENCES] + ([f"{more} more"] if more > 0 else []))


def _changed_fields(kind: str, before: Mapping[str, str], now: Mapping[str, str]) -> Iterator[str]:
    """Yield `distill: schedule.epochs 100, now 200` for each field."""
    for name in dict.fromkeys([*before, *now]):
        old, new = (recipe.get(name, "none") for recipe in (before, now))
        if old != new:
            what = "other test videos, " if name.startswith(_TEST_VIDEOS) else ""
            yield f"{kind}: {what}{name} {_short(old)}, now {_short(new)}"


def _seeds_text(seeds: list[int]) -> str:
    if len(seeds) > _MAX_SEEDS:
        return f"{len(seeds)} in number"
    return " and ".join(map(str, seeds)) if len(seeds) < 3 else ", ".join(map(str, seeds))


def _short(text: str) -> str:
    return text if len(text) <= _MAX_CHARS else f"{text[: _MAX_CHARS - 1]}\u2026"
