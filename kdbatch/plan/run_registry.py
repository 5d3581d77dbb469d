"""All runs of a plan, each once, and the order in which they may start."""

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
    """All runs of a plan by id, in the order in which they were first needed: parents first."""

    config: Config
    runs: dict[str, Run] = field(default_factory=dict)
    titles: dict[str, str] = field(default_factory=dict)
    used_by: dict[str, list[str]] = field(default_factory=dict)
    indexes: dict[str, ShardIndex] = field(default_factory=dict)
    subsets: dict[tuple[str, str, str], Subset] = field(default_factory=dict)

    def add(
        self, recipe: Recipe, *, seed: int, parents: tuple[str, ...], title: str, experiment: str
    ) -> str:
        run = Run(recipe=recipe, seed=seed, parents=parents)
        self.runs.setdefault(run.id, run)
        self.titles.setdefault(run.id, f"{title}, seed {seed}")
        users = self.used_by.setdefault(run.id, [])
        if experiment not in users:
            users.append(experiment)
        return run.id

    def subset(self, dataset: str, split: str, words: str, *, where: str) -> Subset:
        key = (dataset, split, words)
        if key not in self.subsets:
            lookup(DATASETS, dataset, where=where)
            if dataset not in self.indexes:
                self.indexes[dataset] = load_index(self.config.shards_dir, dataset)
            self.subsets[key] = find_subset(self.indexes[dataset], split, words, where=where)
        return self.subsets[key]

    def cost_hours(self, run_id: str) -> float:
        """About how many GPU-hours the run will take."""
        run = self.runs[run_id]
        recipe = run.recipe
        num_test_videos = (
            0 if isinstance(recipe, Pretrain | Compare) else self._count(recipe.evaluation.test)
        )
        networks = [self.runs[parent].recipe for parent in run.parents]
        parents = [network.backbone for network in networks if not isinstance(network, Compare)]
        return estimate_hours(
            recipe,
            num_videos=self._count(recipe.data),
            num_test_videos=num_test_videos,
            parents=parents,
        )

    def _count(self, subset: Subset) -> int:
        part = self.indexes[subset.dataset].parts[DATASETS[subset.dataset].part_of[subset.split]]
        return subset.num_places or part.num_in_split.get(subset.split, 0)


def group_into_waves(planned: Sequence[PlannedRun]) -> tuple[Wave, ...]:
    """Runs that are not done, by kind and resources. Kinds are in order of stages, so parents never
    come after children.
    """
    groups: dict[tuple[int, Resources], list[str]] = {}
    for item in planned:
        if not item.done:
            groups.setdefault(
                (RECIPE_KINDS.index(item.run.recipe.kind), item.resources), []
            ).append(item.run.id)
    ordered = sorted(groups.items(), key=lambda group: group[0][0])
    return tuple(
        Wave(name=RECIPE_KINDS[kind], resources=resources, run_ids=tuple(ids))
        for (kind, resources), ids in ordered
    )
