"""The runs of a plan, each registered once, and the waves in which they may start."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from kdbatch.base.lookup import lookup
from kdbatch.plan.cost import estimate_hours
from kdbatch.vocab.config import Config
from kdbatch.vocab.datasets import DATASETS
from kdbatch.vocab.plans import PlannedRun, Wave
from kdbatch.vocab.recipes import RECIPE_KINDS, Compare, Pretrain, Recipe
from kdbatch.vocab.runs import Resources, Run
from kdbatch.vocab.shards import ShardIndex, Subset, find_subset, load_index


@dataclass(kw_only=True)
class RunRegistry:
    """The runs of a plan by id, in the order in which they were added: parents first."""

    config: Config
    runs: dict[str, Run] = field(default_factory=dict)
    titles: dict[str, str] = field(default_factory=dict)
    used_by: dict[str, list[str]] = field(default_factory=dict)
    indexes: dict[str, ShardIndex] = field(default_factory=dict)
    subsets: dict[tuple[str, str, str], Subset] = field(default_factory=dict)

    def add(
        self, recipe: Recipe, *, seed: int, parents: tuple[str, ...], title: str, experiment: str
    ) -> str:
        """Register a run for an experiment and return its id. An equal run is registered once."""
        run = Run(recipe=recipe, seed=seed, parents=parents)
        self.runs.setdefault(run.id, run)
        self.titles.setdefault(run.id, f"{title}, seed {seed}")
        users = self.used_by.setdefault(run.id, [])
        if experiment not in users:
            users.append(experiment)
        return run.id

    def subset(self, dataset: str, split: str, size: str, *, where: str) -> Subset:
        """The Subset with `size` videos. Reads each index once."""
        key = (dataset, split, size)
        if key not in self.subsets:
            lookup(DATASETS, dataset, where=where)
            if dataset not in self.indexes:
                self.indexes[dataset] = load_index(self.config.shards_dir, dataset)
            self.subsets[key] = find_subset(self.indexes[dataset], split, size, where=where)
        return self.subsets[key]

    def cost_hours(self, run_id: str) -> float:
        """An estimate of the run's GPU-hours."""
        run = self.runs[run_id]
        recipe = run.recipe
        has_test = not isinstance(recipe, Pretrain | Compare)
        num_test_videos = self._count(recipe.evaluation.test) if has_test else 0
        networks = [self.runs[parent].recipe for parent in run.parents]
        parents = [network.backbone for network in networks if not isinstance(network, Compare)]
        return estimate_hours(
            recipe,
            num_videos=self._count(recipe.data),
            num_test_videos=num_test_videos,
            parents=parents,
        )

    def _count(self, subset: Subset) -> int:
        part = self.indexes[subset.dataset].part_of(subset.split)
        return subset.num_places or part.num_in_split.get(subset.split, 0)


def group_into_waves(planned: Sequence[PlannedRun]) -> tuple[Wave, ...]:
    """Group the runs that are not done by kind and resources.

    Kinds are in the order of the stages, so that parents never come after their children.
    """
    groups: dict[tuple[str, Resources], list[str]] = {}
    for item in planned:
        if not item.done:
            groups.setdefault((item.run.recipe.kind, item.resources), []).append(item.run.id)
    ordered = sorted(groups.items(), key=lambda group: RECIPE_KINDS.index(group[0][0]))
    return tuple(
        Wave(name=kind, resources=resources, run_ids=tuple(ids))
        for (kind, resources), ids in ordered
    )
