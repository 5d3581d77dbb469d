"""Compares two reports, number by number and claim by claim."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from kdbatch.base.text import plural
from kdbatch.report.changes.compared_report import (
    CellKey,
    ClaimOutcome,
    ComparedReport,
    Number,
    UsedRun,
)
from kdbatch.report.changes.reasons import Reasons, joined
from kdbatch.report.labels import (
    NO_VALUE,
    case_title,
    format_number,
    format_signed,
    metric_title,
)
from kdbatch.report.tables.grid import ENSEMBLE_ROWS
from kdbatch.vocab.plans.records import PlanRecord

SAME = 1e-9  # a difference that is rounding of the computer alone
HEAD = ("What", "Experiment", "Before", "Now", "Difference", "Why")
_STUDENT_GROUP = "ensemble"  # numbers that the student's runs measured

_Key = tuple[object, ...]
_V = TypeVar("_V")


@dataclass(frozen=True, kw_only=True)
class Change:
    """A number or claim that reads otherwise than before, in texts."""

    what: str
    experiment: str
    before: str
    now: str
    difference: str
    why: str

    @property
    def cells(self) -> tuple[str, ...]:
        """The texts of the columns HEAD."""
        return self.what, self.experiment, self.before, self.now, self.difference, self.why


@dataclass(frozen=True, kw_only=True)
class Changes:
    """Changes since the report `against`: of so many numbers and claims that both reports have,
    and those that only one has. `left_out` are experiments that only one report has.
    """

    against: str
    numbers: tuple[Change, ...]
    claims: tuple[Change, ...]
    num_numbers: int
    num_claims: int
    left_out: tuple[str, ...]

    @property
    def summary(self) -> str:
        """Return `2 of 5 claims and 3 of 16 numbers moved.`"""
        counts = []
        for changed, num, noun in (
            (self.claims, self.num_claims, "claim"),
            (self.numbers, self.num_numbers, "number"),
        ):
            counts.append(f"{len(changed)} of {plural(max(num, len(changed)), noun)}")
        return f"{' and '.join(counts)} moved."

    @property
    def rows(self) -> list[tuple[str, ...]]:
        """Claims, then numbers."""
        return [change.cells for change in (*self.claims, *self.numbers)]


def compare_reports(
    old: ComparedReport, new: ComparedReport, records: Sequence[PlanRecord], *, against: str
) -> Changes:
    """Return what moved. A difference that the printed digits do not show is none; `records` are
    the plans of the new report.
    """
    reader = _Reader(
        old=old,
        new=new,
        reasons=Reasons(old=old, new=new),
        records={(record.experiment, record.profile): record for record in records},
    )
    shared = reader.places(old) & reader.places(new)
    numbers = _paired(_numbers(old, shared), _numbers(new, shared))
    claims = _paired(_claims(old, shared), _claims(new, shared))
    only = {"before": reader.places(old) - shared, "now": reader.places(new) - shared}
    return Changes(
        against=against,
        numbers=tuple(filter(None, (reader.number(*pair) for pair in numbers))),
        claims=tuple(filter(None, (reader.claim(*pair) for pair in claims))),
        num_numbers=sum(None not in pair for pair in numbers),
        num_claims=sum(None not in pair for pair in claims),
        left_out=tuple(
            f"{name}, profile {profile}: only {when}"
            for when, places in only.items()
            for name, profile in sorted(places)
        ),
    )


@dataclass(frozen=True, kw_only=True)
class _Reader:
    """Puts a pair of numbers or claims into words; None where it reads the same."""

    old: ComparedReport
    new: ComparedReport
    reasons: Reasons
    records: Mapping[tuple[str, str], PlanRecord]

    def places(self, report: ComparedReport) -> set[tuple[str, str]]:
        return {(cell.experiment, cell.profile) for cell in report.cells}

    def number(self, old: Number | None, new: Number | None) -> Change | None:
        texts = _number_text(old), _number_text(new)
        if texts[0] == texts[1] or (old and new and _is_same(_values(old), _values(new))):
            return None
        shown = new or old
        assert shown
        difference = ""
        if old and new and old.mean is not None and new.mean is not None:
            difference = format_signed(new.mean - old.mean)
        role = "student" if shown.group == _STUDENT_GROUP else shown.role
        place = shown.experiment, shown.profile
        cells = (
            self.old.done_cells(place, role, shown.case),
            self.new.done_cells(place, role, shown.case),
        )
        return Change(
            what=self._number_title(shown),
            experiment=_experiment(shown),
            before=texts[0],
            now=texts[1],
            difference=difference,
            why=joined(self._why_number(old, new, *cells)),
        )

    def _why_number(
        self,
        old: Number | None,
        new: Number | None,
        before: Mapping[CellKey, UsedRun],
        now: Mapping[CellKey, UsedRun],
    ) -> Iterator[str]:
        if old is None or new is None:
            yield "only the report of now has it" if old is None else "it is in no table any more"
        else:
            yield from self.reasons.of_runs(before, now)

    def claim(self, old: ClaimOutcome | None, new: ClaimOutcome | None) -> Change | None:
        texts = _claim_text(old), _claim_text(new)
        if texts[0] == texts[1] or (old and new and _is_same(_bounds(old), _bounds(new))):
            return None
        shown = new or old
        assert shown
        difference = ""
        if old and new and old.effect is not None and new.effect is not None:
            difference = format_signed(new.effect - old.effect, digits=_digits(new))
        return Change(
            what=f"claim {shown.claim.get('id', '')}",
            experiment=_experiment(shown),
            before=texts[0],
            now=texts[1],
            difference=difference,
            why=joined(self._why_claim(old, new)),
        )

    def _why_claim(self, old: ClaimOutcome | None, new: ClaimOutcome | None) -> Iterator[str]:
        if old is None or new is None:
            yield "only the report of now has it" if old is None else "it is no claim any more"
            return
        for name, value in new.claim.items():
            if value != old.claim.get(name):
                yield f"the claim's {name} was {old.claim.get(name)!r}, now {value!r}"
        if self.old.statistics != self.new.statistics:
            yield f"statistics of version {self.old.statistics}, now {self.new.statistics}"
        if old.num_videos != new.num_videos:
            yield f"{old.num_videos} test videos, now {new.num_videos}"
        place = new.experiment, new.profile
        for role in dict.fromkeys((*old.roles, *new.roles)):
            case = new.case_of(role)
            before = self.old.done_cells(place, role, case)
            yield from self.reasons.of_runs(before, self.new.done_cells(place, role, case))
        is_own = (old.verdict, old.effect) != (new.verdict, new.effect)
        if old.corrected_verdict != new.corrected_verdict and not is_own:
            yield "other claims in the report: verdicts hold for all of them at once (Holm)"

    def _number_title(self, number: Number) -> str:
        record = self.records.get((number.experiment, number.profile))
        titles = record.titles if record else {}
        role = record.roles.get(number.role, number.role) if record else number.role
        role = ENSEMBLE_ROWS.get(number.metric, {}).get(number.role, role)
        metric = "" if number.metric == "top1" else f", {metric_title(number.metric)}"
        published = ", as published" if number.group == "published" else ""
        return f"{role} at {case_title(number.case, titles)}{metric}{published}"


def _paired(old: Mapping[_Key, _V], new: Mapping[_Key, _V]) -> list[tuple[_V | None, _V | None]]:
    """Every entry of one of them with that of the other, in the order of the new report."""
    return [(old.get(key), new.get(key)) for key in dict.fromkeys([*new, *old])]


def _numbers(report: ComparedReport, places: set[tuple[str, str]]) -> dict[_Key, Number]:
    """Those of several tables count once."""
    found: dict[_Key, Number] = {}
    for each in report.numbers:
        place, case = (each.experiment, each.profile), tuple(sorted(each.case.items()))
        if place in places:
            found.setdefault((place, each.metric, each.group, each.role, case), each)
    return found


def _claims(report: ComparedReport, places: set[tuple[str, str]]) -> dict[_Key, ClaimOutcome]:
    return {
        (each.experiment, each.profile, str(each.claim.get("id"))): each
        for each in report.claims
        if (each.experiment, each.profile) in places
    }


def _experiment(of: Number | ClaimOutcome) -> str:
    return f"{of.experiment}, {of.profile}"


def _number_text(number: Number | None) -> str:
    if number is None or number.mean is None:
        return NO_VALUE
    text = format_number(number.mean)
    if number.sd is not None:
        text += f" ± {format_number(number.sd)}"
    is_partial = number.seeds_done < number.seeds_planned
    return text + (f" ({number.seeds_done} of {number.seeds_planned})" if is_partial else "")


def _claim_text(claim: ClaimOutcome | None) -> str:
    """Return `holds, +4.1 [+2.9, +5.3]`."""
    if claim is None:
        return NO_VALUE
    text, digits = claim.corrected_verdict, _digits(claim)
    if claim.effect is not None:
        text += f", {format_signed(claim.effect, digits=digits)}"
    if claim.interval_95:
        ends = (format_signed(end, digits=digits) for end in claim.interval_95)
        text += f" [{', '.join(ends)}]"
    return text


def _digits(claim: ClaimOutcome) -> int:
    return 1 if claim.unit == "points" else 3


def _values(number: Number) -> tuple[object, ...]:
    return number.mean, number.sd, number.seeds_done, number.seeds_planned


def _bounds(claim: ClaimOutcome) -> tuple[object, ...]:
    return claim.corrected_verdict, claim.effect, *(claim.interval_95 or (None, None))


def _is_same(old: Sequence[object], new: Sequence[object]) -> bool:
    """Whether two lists of facts are equal but for the last digits of their numbers."""
    for before, now in zip(old, new, strict=True):
        if isinstance(before, float) and isinstance(now, float):
            if abs(before - now) > SAME:
                return False
        elif before != now:
            return False
    return True
