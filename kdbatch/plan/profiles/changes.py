"""Settings of a profile that an experiment changes, and whether schedules make sense."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, TypeVar

from kdbatch.base.errors import UserError
from kdbatch.base.parse import parse
from kdbatch.plan.profiles.scales import PretrainScale
from kdbatch.vocab.recipes.schedule import Schedule

Settings = TypeVar("Settings")
AnySchedule = TypeVar("AnySchedule", PretrainScale, Schedule)


def check_schedules(schedules: Mapping[str, PretrainScale | Schedule | None]) -> None:
    """Checks what the fields of a schedule mean together. Runs of older versions are read without
    this.

    Raises:
        UserError: two fields do not fit; the message starts with the schedule's name.
    """
    for name, schedule in schedules.items():
        if schedule is None:
            continue
        if schedule.warmup_epochs > schedule.epochs:
            raise UserError(
                f"{name}.warmup_epochs: found {schedule.warmup_epochs:g}, but the training has "
                f"{schedule.epochs:,} epochs. Write at most {schedule.epochs}."
            )
        if schedule.num_micro_batches > schedule.batch_clips:
            raise UserError(
                f"{name}.num_micro_batches: found {schedule.num_micro_batches:,} for batches of "
                f"{schedule.batch_clips:,} clips. Write 1 to {schedule.batch_clips:,}."
            )
        if isinstance(schedule, Schedule) and schedule.milestones and schedule.decay != "steps":
            raise UserError(
                f"{name}.milestones: decay: {schedule.decay} has none. Write decay: steps, or "
                "leave milestones out."
            )


def changed(usual: Settings, own: Mapping[str, Any], *, where: str) -> Settings:
    """The dataclass `usual` with these fields, of an experiment, in place of its own.

    Raises:
        UserError: it has no such field, or the field cannot have the value; the message starts with
            `where`.
    """
    return parse(type(usual), {**asdict(usual), **own}, where=where) if own else usual  # type: ignore[call-overload]


def changed_schedule(usual: AnySchedule, own: Mapping[str, Any], *, where: str) -> AnySchedule:
    """A schedule with these fields, of an experiment, in place of its own.

    Raises:
        UserError: as `changed`, or the fields do not fit together.
    """
    schedule = changed(usual, own, where=where)
    if own:
        file, _, field_name = where.rpartition(": ")
        try:
            check_schedules({field_name: schedule})
        except UserError as error:
            raise UserError(f"{file}: {error}") from error
    return schedule
