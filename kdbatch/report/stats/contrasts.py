"""The contrasts of a claim: which roles are compared in which cases, and what is averaged."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from kdbatch.report.data.study import cases_of, matching_cells
from kdbatch.report.labels import case_title, value_title
from kdbatch.report.stats.arms import Arm, Contrast, arms_of
from kdbatch.vocab.plans.declarations import Claim, ClaimKind
from kdbatch.vocab.plans.records import PlanRecord


@dataclass(frozen=True, kw_only=True)
class ClaimRoles:
    """One claim with the runs of its experiment. `value` is the number of a run by its name."""

    record: PlanRecord
    claim: Claim
    value: Callable[[str, str], float | None]

    def cases(self) -> list[dict[str, str]]:
        """Return the cases of the role `who` to which the claim applies."""
        fixed = self.claim.at.items()
        cases = cases_of(self.record, self.claim.who)
        return [case for case in cases if all(case.get(axis) == value for axis, value in fixed)]

    def arms(self, role: str, case: Mapping[str, str], *, metric: str) -> list[Arm]:
        """Return a role in a case: an arm for each fold."""
        cells = matching_cells(self.record, role, case)
        return arms_of(cells, title=self.title(role), value=lambda run: self.value(run, metric))

    def map_arm(self, name: str, *, metric: str) -> Arm:
        """Return a map, which has one case and fold."""
        arms = self.arms(f"map:{name}", {}, metric=metric)
        return arms[0] if arms else Arm(title=self.title(f"map:{name}"), runs={}, values={})

    def weighed(self, role: str, case: Mapping[str, str], weight: float) -> dict[Arm, float]:
        """Return a role in a case with this weight, which its folds share; published numbers are
        of fold 1 alone.
        """
        arms = self.arms(role, case, metric=self.claim.metric)
        if self.claim.kind == "agrees_with_published":
            arms = [arm for arm in arms if arm.fold == 1] or arms
        return {arm: weight / len(arms) for arm in arms}

    def weighed_other(self, role: str, case: Mapping[str, str], weight: float) -> dict[Arm, float]:
        """Return a role of the claim's `than`, in the case that `than_at` moves it to."""
        return self.weighed(role, {**case, **self.claim.than_at}, weight)

    def title(self, role: str) -> str:
        """Return the title of a role or map."""
        if role.startswith("map:"):
            maps = {f"map:{m.id}": m.title for m in self.record.maps}
            return maps.get(role, role)
        return self.record.roles.get(role, role)

    def case_title(self, case: Mapping[str, str]) -> str:
        """Return the title of a case."""
        return case_title(case, self.record.titles)

    def than_at_text(self) -> str:
        """Return ` at 100k`, where the claim's `than` is in other cases."""
        than_at = self.claim.than_at
        return f" at {self.case_title(than_at)}" if than_at else ""


@dataclass(frozen=True, kw_only=True)
class ClaimContrasts:
    """The contrasts that a claim compares, and others of the same form.

    The `others` are of cases that the claim is not about; the spread between trainings is estimated
    from them, too.
    """

    compared: tuple[Contrast, ...]
    others: tuple[Contrast, ...] = ()


def claim_contrasts(roles: ClaimRoles) -> ClaimContrasts:
    """Return the contrasts of a claim that compares roles; of one about maps there are none."""
    build = _BUILDERS.get(roles.claim.kind)
    if build is None:
        return ClaimContrasts(compared=())
    everywhere = replace(roles, claim=replace(roles.claim, at={}))
    compared = [contrast for cases in build(roles).values() for contrast in cases]
    labels = {contrast.label for contrast in compared}
    others = [
        contrast
        for cases in build(everywhere).values()
        for contrast in cases
        if contrast.label not in labels
    ]
    if roles.claim.averaged or roles.claim.kind in _MEANS:
        compared = [_average(label, cases) for label, cases in build(roles).items() if cases]
    return ClaimContrasts(compared=tuple(compared), others=tuple(others))


def _beats(roles: ClaimRoles) -> dict[str, list[Contrast]]:
    """Compare `who` with each role of `than`, case by case."""
    claim = roles.claim
    contrasts: dict[str, list[Contrast]] = {}
    for role in claim.than:
        above = f"above {roles.title(role)}{roles.than_at_text()}"
        contrasts[above] = [
            Contrast(
                label=f"{roles.case_title(case)}: {above}",
                weights=roles.weighed(claim.who, case, 1.0) | other,
                pool=role,
            )
            for case in roles.cases()
            for other in [roles.weighed_other(role, case, -1.0)]
            if other  # the plan need not have every role in every case
        ]
    return contrasts


def _best_at(roles: ClaimRoles) -> dict[str, list[Contrast]]:
    """Compare `who` at axis = value with `who` at each other value, the other axes being equal."""
    claim = roles.claim
    cases = roles.cases()
    contrasts: dict[str, list[Contrast]] = {}
    for case in cases:
        if case.get(claim.axis) != claim.value:
            continue
        rest = _without(case, claim.axis)
        for other in cases:
            if other != case and _without(other, claim.axis) == rest:
                prefix = f"{roles.case_title(rest)}: " if rest else ""
                own, below = (
                    value_title(value, roles.record.titles)
                    for value in (claim.value, other[claim.axis])
                )
                above = f"{own} above {below}"
                weights = roles.weighed(claim.who, case, 1.0)
                weights |= roles.weighed(claim.who, other, -1.0)
                contrast = Contrast(label=prefix + above, weights=weights, pool=claim.who)
                contrasts.setdefault(above, []).append(contrast)
    return contrasts


def _mean_gain(roles: ClaimRoles) -> dict[str, list[Contrast]]:
    """Compare `who` with the mean of `than`, case by case."""
    claim = roles.claim
    others = " and ".join(roles.title(role) for role in claim.than) + roles.than_at_text()
    label = f"{roles.title(claim.who)} above the mean of {others}"
    contrasts = []
    for case in roles.cases() if claim.than else []:
        weights = roles.weighed(claim.who, case, 1.0)
        for role in claim.than:
            weights |= roles.weighed_other(role, case, -1 / len(claim.than))
        contrasts.append(
            Contrast(label=f"{roles.case_title(case)}: {label}", weights=weights, pool="*")
        )
    return {label: contrasts}


def _average(label: str, contrasts: Sequence[Contrast]) -> Contrast:
    if len(contrasts) > 1:
        label += f", averaged over {len(contrasts)} cases"
    weights = {
        arm: weight / len(contrasts)
        for contrast in contrasts
        for arm, weight in contrast.weights.items()
    }
    return Contrast(label=label, weights=weights, pool=contrasts[0].pool, parts=tuple(contrasts))


def _without(case: dict[str, str], axis: str) -> dict[str, str]:
    return {a: value for a, value in case.items() if a != axis}


_MEANS: tuple[ClaimKind, ...] = ("mean_gain_at_least", "agrees_with_published")
_BUILDERS: dict[ClaimKind, Callable[[ClaimRoles], dict[str, list[Contrast]]]] = {
    "beats": _beats,
    "best_at": _best_at,
    "mean_gain_at_least": _mean_gain,
    "agrees_with_published": _mean_gain,
}
