"""Turns experiments into a Plan, in which a run that several of them need stands once."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from kdbatch.base.errors import UserError
from kdbatch.plan.costs.estimator import Estimator
from kdbatch.plan.costs.finished import done_files, load_finished_runs
from kdbatch.plan.experiment import parse_experiment
from kdbatch.plan.known_datasets import KnownDatasets
from kdbatch.plan.outside.outside_file import is_outside, outside_record
from kdbatch.plan.profiles.profile_file import Profile, load_profile
from kdbatch.plan.runs.recipe_builder import RecipeBuilder
from kdbatch.plan.runs.registry import RunRegistry, group_into_waves
from kdbatch.plan.runs.resolver import Resolver
from kdbatch.plan.runs.titles import timeline_title, value_titles
from kdbatch.plan.shipped_jobs import check_experiment_exists
from kdbatch.plan.specs import Experiment
from kdbatch.plan.subsets import SubsetFinder, describe_missing, shard_commands
from kdbatch.plan.video_checks.batch_parts import check_batches
from kdbatch.plan.video_checks.frame_rates import clip_rates
from kdbatch.plan.yaml_loader import load_yaml
from kdbatch.vocab.config import Config
from kdbatch.vocab.plans.plan import Plan, PlannedRun
from kdbatch.vocab.plans.records import Cell, PlanRecord, RecordedRun


def make_plan(
    files: Sequence[Path],
    *,
    profile: str,
    config: Config,
    has_gpus: bool = True,
    datasets: KnownDatasets | None = None,
) -> Plan:
    """Plan the experiments in `files` at the scale of `profile`.

    Reads shard indexes and run folders, writes nothing. Videos that are not stored are planned by
    their published number, those of own data sets by what `datasets` lists; `require_shards`
    refuses such a plan. The costs are for GPUs where the runs will have some (`has_gpus`), else for
    CPUs.

    Raises:
        UserError: a mistake in a file, unknown names, a subset larger than its split.
    """
    subsets = SubsetFinder(datasets=datasets or KnownDatasets(config=config))
    registry = RunRegistry(subsets=subsets)
    records = tuple(_plan_experiment(path, profile=profile, registry=registry) for path in files)
    done = done_files(config.runs_dir)
    finished, warnings = load_finished_runs(config.runs_dir, registry.runs, done)
    estimator = Estimator(runs=registry.runs, subsets=subsets, finished=finished, has_gpus=has_gpus)
    planned = tuple(
        _planned_run(run_id, registry, config=config, estimator=estimator, is_done=run_id in done)
        for run_id in registry.runs
    )
    for path, record in zip(files, records, strict=True):
        used = [item for item in planned if record.experiment in item.used_by and not item.done]
        for item in used:
            num_videos = estimator.num_videos(item.run.recipe)[0]
            check_batches(item, num_videos=num_videos, has_gpus=has_gpus, where=str(path))
    records = tuple(
        replace(
            _with_runs(record, planned, subsets),
            titles=value_titles(record.axes, config.datasets),
        )
        for record in records
    )
    return Plan(
        records=records,
        runs=planned,
        waves=group_into_waves(planned),
        shard_bytes=subsets.num_bytes(),
        missing=subsets.missing,
        warnings=(
            *warnings,
            *subsets.unread_lists,
            *registry.notes,
            *_outside_notes(records),
        ),
        encodings=subsets.encodings(),
    )


def require_shards(plan: Plan, *, slurm: bool) -> Plan:
    """The plan itself, if all of its videos are stored.

    Raises:
        UserError: some are not; the message has the commands that store them (by `slurm`), one a
            line.
    """
    if not plan.missing:
        return plan
    commands = [f"  {command}" for command in shard_commands(plan.missing, slurm=slurm)]
    raise UserError(f"{describe_missing(plan.missing)} Store them first:", *commands)


def _plan_experiment(path: Path, *, profile: str, registry: RunRegistry) -> PlanRecord:
    """Register the runs of an experiment, and return its record."""
    check_experiment_exists(path)
    raw = load_yaml(path)
    if is_outside(raw):
        return outside_record(path, raw, profile=profile)
    scale = load_profile(path, profile, datasets=registry.subsets.datasets.names)
    experiment = parse_experiment(path, raw, scale)
    folds = sorted({1, *(fold for folds in scale.folds.values() for fold in folds)})
    parts = _on_each_timeline(experiment, scale)
    builders = [
        (part, RecipeBuilder(registry, at_rate, str(path), fold), title)
        for fold in folds
        for part, at_rate, title in parts
    ]
    cells: list[Cell] = []
    for seed in scale.seeds:
        for part, builder, title in builders:
            cells += Resolver(registry, part, builder, title, seed).cells()
    return PlanRecord(
        experiment=experiment.name,
        title=experiment.title,
        profile=profile,
        source=experiment.source,
        question=experiment.question,
        sources=experiment.sources,
        axes=experiment.axes,
        roles=experiment.roles,
        tables=experiment.tables,
        maps=experiment.maps,
        claims=experiment.claims,
        untestable=experiment.untestable,
        cells=tuple(cells),
        references=experiment.references,
        note=scale.note,
    )


def _on_each_timeline(
    experiment: Experiment, scale: Profile
) -> list[tuple[Experiment, Profile, str]]:
    """The cases of each timeline, the profile with it, and how titles of runs end there."""
    timelines = dict.fromkeys(case.timeline for case in experiment.cases)
    found = []
    for timeline in timelines:
        cases = tuple(case for case in experiment.cases if case.timeline == timeline)
        clip = scale.clip.on(timeline)
        title = timeline_title(clip, scale.clip)
        found.append((replace(experiment, cases=cases), replace(scale, clip=clip), title))
    return found


def _outside_notes(records: Sequence[PlanRecord]) -> Iterator[str]:
    """A line on each experiment whose runs another trainer makes."""
    for record in records:
        if record.is_outside:
            yield (
                f"{record.experiment}: its {len(record.runs)} runs are made by another trainer, "
                "whose results kdbatch.write_results writes (docs/OWN_RESULTS.md)."
            )


def _with_runs(
    record: PlanRecord, planned: Sequence[PlannedRun], subsets: SubsetFinder
) -> PlanRecord:
    """The record with the runs that its experiment needs, and the rates of their videos."""
    if record.is_outside:
        return record
    items = [item for item in planned if record.experiment in item.used_by]
    runs = [
        RecordedRun(
            id=item.run.id,
            title=item.title,
            kind=item.run.recipe.kind,
            device_hours=float(f"{item.cost.device_hours:.3g}"),
        )
        for item in items
    ]
    rates = clip_rates((item.run.recipe for item in items), subsets)
    return replace(record, runs=tuple(runs), rates=rates)


def _planned_run(
    run_id: str, registry: RunRegistry, *, config: Config, estimator: Estimator, is_done: bool
) -> PlannedRun:
    run = registry.runs[run_id]
    resources = config.resources_of(run.recipe.kind)
    return PlannedRun(
        run=run,
        title=registry.titles[run_id],
        resources=resources,
        done=is_done,
        used_by=tuple(registry.used_by[run_id]),
        provisional=registry.is_provisional(run_id),
        cost=estimator.estimate(run, num_gpus=resources.gpus),
        file=registry.files.get(run_id),
    )
