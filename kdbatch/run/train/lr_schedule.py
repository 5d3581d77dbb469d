"""The learning rate as a function of the step."""

import math

from kdbatch.vocab.recipes.schedule import Schedule


def lr_at(schedule: Schedule, *, step: int, steps_per_epoch: int) -> float:
    """The learning rate of a step, counted from 0: linear warm-up, then cosine or steps."""
    warmup = schedule.warmup_epochs * steps_per_epoch
    if step < warmup:
        return schedule.lr * (step + 1) / math.ceil(warmup)
    total = schedule.epochs * steps_per_epoch
    share = step / total
    if schedule.decay == "steps":
        return schedule.lr * schedule.decay_factor ** sum(share >= m for m in schedule.milestones)
    after = (step - warmup) / max(1, total - warmup)
    low = schedule.lr * schedule.final_lr_share
    return low + (schedule.lr - low) * 0.5 * (1 + math.cos(math.pi * after))
