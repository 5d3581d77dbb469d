"""The cluster as a login node sees it: partitions and settings of SLURM, where it answers."""

import re
from dataclasses import dataclass

from kdbatch.launch.slurm.commands import output_or_nothing

# A generic resource of sinfo: gpu, gpu:4, gpu:h200 or gpu:h200:4.
GPU_RESOURCE = re.compile(r"\bgpu(?::([A-Za-z][\w.-]*))?(?::\d+|\b)")


@dataclass(frozen=True, kw_only=True)
class Partition:
    """A partition of sinfo. `minutes` is its time limit, 0 for none; `gpu_types` are the named
    types of its generic resource gpu.
    """

    name: str
    is_default: bool
    minutes: int
    has_gpus: bool
    gpu_types: tuple[str, ...]


def partitions() -> tuple[Partition, ...]:
    """The partitions, in the order of sinfo, which has a line for each kind of node: they are
    joined into one partition with the GPU types of all.
    """
    joined: dict[str, Partition] = {}
    for line in output_or_nothing("sinfo", "--noheader", "--format=%P|%l|%G").splitlines():
        marked_name, limit, gres = (*line.strip().split("|"), "", "")[:3]
        name = marked_name.rstrip("*")
        gpu_types: list[str] = GPU_RESOURCE.findall(gres)
        has_gpus, known_types = bool(gpu_types), ()
        if name in joined:
            has_gpus, known_types = has_gpus or joined[name].has_gpus, joined[name].gpu_types
        joined[name] = Partition(
            name=name,
            is_default=marked_name.endswith("*"),
            minutes=parse_time_limit(limit),
            has_gpus=has_gpus,
            gpu_types=tuple(dict.fromkeys((*known_types, *filter(None, gpu_types)))),
        )
    return tuple(joined.values())


def slurm_settings() -> dict[str, str]:
    """The values of `scontrol show config`, by name; empty where SLURM does not answer."""
    lines = output_or_nothing("scontrol", "show", "config").splitlines()
    pairs = (line.partition("=") for line in lines if "=" in line)
    return {name.strip(): value.strip() for name, _, value in pairs}


def parse_time_limit(limit: str) -> int:
    """Whole minutes of SLURM's `days-hours:minutes:seconds`, whose leading zero parts are left out;
    0 for no limit.
    """
    match = re.fullmatch(r"(?:(\d+)-)?(?:(\d+):)?(\d+):(\d+)", limit)
    if not match:
        return 0
    days, hours, minutes, _ = (int(number or 0) for number in match.groups())
    return (days * 24 + hours) * 60 + minutes
