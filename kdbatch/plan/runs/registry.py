"""The runs of a plan, each registered once, and the waves in which they may start."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from kdbatch.plan.subsets import SubsetFinder
from kdbatch.vocab.plans.plan import PlannedRun, Wave
from kdbatch.vocab.recipes.imported import Import
from kdbatch.vocab.recipes.recipe import RECIPE_KINDS, Recipe, installed_code, subsets_of
from kdbatch.vocab.runs.run import Run


@dataclass(kw_only=True)
class RunRegistry:
    """The runs of a plan by id, in the order in which they were added: parents first. `files` are
    those that imports read, `notes` are lines about the plan.
    """

    subsets: SubsetFinder
    runs: dict[str, Run] = field(default_factory=dict)
    titles: dict[str, str] = field(default_factory=dict)
    used_by: dict[str, list[str]] = field(default_factory=dict)
    files: dict[str, Path] = field(default_factory=dict)
    notes: dict[str, None] = field(default_factory=dict)

    def add(
        self, recipe: Recipe, *, seed: int, parents: tuple[str, ...], title: str, experiment: str
    ) -> str:
        """Register a run for an experiment and return its id. An equal run is registered once."""
        code = {*installed_code(recipe), *(c for parent in parents for c in self.runs[parent].code)}
        run = Run(recipe=recipe, seed=seed, parents=parents, code=tuple(sorted(code)))
        for used in run.code:
            self.notes[f"run ids contain the code of {used}: with other code they are others"] = (
                None
            )
        self.runs.setdefault(run.id, run)
        has_seed = not isinstance(recipe, Import)
        self.titles.setdefault(run.id, f"{title}, seed {seed}" if has_seed else title)
        users = self.used_by.setdefault(run.id, [])
        if experiment not in users:
            users.append(experiment)
        return run.id

    def is_provisional(self, run_id: str) -> bool:
        """Whether videos of the run, or of a run that it learns from, are not stored."""
        run = self.runs[run_id]
        return not all(subset.digest for subset in subsets_of(run.recipe)) or any(
            self.is_provisional(parent) for parent in run.parents
        )


def group_into_waves(planned: Sequence[PlannedRun]) -> tuple[Wave, ...]:
    """Group the runs that are not done by kind, and so by resources, which depend on it alone.

    Kinds are in the order of the stages, so that parents never come after their children.
    """
    groups: dict[str, list[PlannedRun]] = {}
    for item in planned:
        if not item.done:
            groups.setdefault(item.run.recipe.kind, []).append(item)
    return tuple(
        Wave(name=kind, resources=items[0].resources, run_ids=tuple(item.run.id for item in items))
        for kind, items in sorted(groups.items(), key=lambda group: RECIPE_KINDS.index(group[0]))
    )
