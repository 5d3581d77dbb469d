"""What a login node can see of its site: partitions, SLURM's settings, the container runtime.
Everything may be missing.
"""

import re
from dataclasses import dataclass

from kdbatch.launch.slurm.commands import output_or_nothing


@dataclass(frozen=True, kw_only=True)
class Partition:
    """A line of sinfo. `minutes` is its time limit, 0 for none; `gpu_types` are the named kinds of
    its generic resource gpu.
    """

    name: str
    is_default: bool
    minutes: int
    has_gpus: bool
    gpu_types: tuple[str, ...]


def partitions() -> tuple[Partition, ...]:
    """As sinfo lists them; a partition of different nodes is one, with the kinds of GPU of all."""
    found: dict[str, Partition] = {}
    for line in output_or_nothing("sinfo", "--noheader", "--format=%P|%l|%G").splitlines():
        name, limit, gres = (*line.strip().split("|"), "", "")[:3]
        kinds = re.findall(r"\bgpu(?::([A-Za-z][\w.-]*))?(?::\d+|\b)", gres)
        before = found.get(name.rstrip("*"))
        found[name.rstrip("*")] = Partition(
            name=name.rstrip("*"),
            is_default=name.endswith("*"),
            minutes=parse_time_limit(limit),
            has_gpus=bool(kinds) or bool(before and before.has_gpus),
            gpu_types=tuple(
                dict.fromkeys((*(before.gpu_types if before else ()), *filter(None, kinds)))
            ),
        )
    return tuple(found.values())


def slurm_settings() -> dict[str, str]:
    """`scontrol show config`, by name; empty where SLURM does not answer."""
    pairs = (
        line.partition("=")
        for line in output_or_nothing("scontrol", "show", "config").splitlines()
        if "=" in line
    )
    return {name.strip(): value.strip() for name, _, value in pairs}


def parse_time_limit(limit: str) -> int:
    """SLURM's `days-hours:minutes:seconds`, without what is zero in front, in whole minutes; 0 for
    no limit.
    """
    found = re.fullmatch(r"(?:(\d+)-)?(?:(\d+):)?(\d+):(\d+)", limit)
    if not found:
        return 0
    days, hours, minutes, _ = (int(number or 0) for number in found.groups())
    return (days * 24 + hours) * 60 + minutes
