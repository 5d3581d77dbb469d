"""Ranges of shard numbers: one per element of a SLURM array, and as `--shards` gives them."""

import itertools
import re
from collections.abc import Sequence

from kdbatch.base.errors import UserError


def split_into_ranges(shards: Sequence[int], num_ranges: int) -> tuple[range, ...]:
    """Split sorted shard numbers into disjoint ranges of about equally many of them.

    A range may include numbers that are not in `shards` (finished shards, which a builder skips).
    There are fewer than `num_ranges` where there are fewer shards.
    """
    edges = [len(shards) * i // num_ranges for i in range(num_ranges + 1)]
    bounds = itertools.pairwise(edges)
    return tuple(range(shards[a], shards[b - 1] + 1) for a, b in bounds if a < b)


def parse_shard_range(text: str, num_shards: int) -> range:
    """Parse `FIRST:END`, the value of `--shards`: `40:80` is shards 40 to 79.

    Raises:
        UserError: `text` has another form, or includes shards that do not exist.
    """
    numbers = re.fullmatch(r"(\d{1,9}):(\d{1,9})", text, re.ASCII)
    if not numbers or not int(numbers[1]) < int(numbers[2]) <= num_shards:
        raise UserError(
            f"--shards: found {text!r}. Write FIRST:END, at most 0:{num_shards}; "
            "END itself is not made."
        )
    return range(int(numbers[1]), int(numbers[2]))
