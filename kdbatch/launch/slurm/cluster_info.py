"""The cluster as a login node sees it: partitions and settings of SLURM, where it answers."""

import re
from dataclasses import dataclass

from kdbatch.launch.slurm.answers import whole_number
from kdbatch.launch.slurm.commands import output_or_nothing

_PARENTHESES = re.compile(r"\([^)]*(?:\)|$)")  # sockets (S:0-1), or indices (IDX:0,2-3)


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
    for line in output_or_nothing("sinfo", "--noheader", "--format=%P|%l|%G").split("\n"):
        marked_name, *fields = (field.strip() for field in line.split("|"))
        name = marked_name.rstrip("*")
        if not fields or not name or " " in name:  # a line of the site's own
            continue
        gpu_types = gpu_types_in(",".join(fields[1:]))
        has_gpus, known_types = bool(gpu_types), ()
        if name in joined:
            has_gpus, known_types = has_gpus or joined[name].has_gpus, joined[name].gpu_types
        joined[name] = Partition(
            name=name,
            is_default=marked_name.endswith("*"),
            minutes=parse_time_limit(fields[0]),
            has_gpus=has_gpus,
            gpu_types=tuple(dict.fromkeys((*known_types, *filter(None, gpu_types)))),
        )
    return tuple(joined.values())


def is_amd_type(gpu_type: str) -> bool:
    """Whether a site's name of a GPU type is of AMD's: mi250x, amd_mi300a, gfx90a."""
    return bool(re.match(r"(amd|radeon|instinct|gfx[0-9]|mi[0-9]{2})", gpu_type, re.IGNORECASE))


def largest_memory_gb(partition: str | None) -> int:
    """The memory of the largest node of a partition, or of those of a list with commas, in GB of
    sbatch, which are 1024 MB; of all nodes without one, and 0 where sinfo does not tell.
    """
    of_partition = (f"--partition={partition}",) if partition else ()
    lines = output_or_nothing("sinfo", "--noheader", *of_partition, "--format=%m").split("\n")
    return max((whole_number(line.strip().rstrip("+")) or 0 for line in lines), default=0) // 1024


def gpu_types_in(gres: str) -> list[str]:
    """The type of each GPU resource in a list of generic resources, "" for one without a type.

    A resource is NAME[:TYPE][:no_consume]:COUNT: gpu:4, gpu:2080ti:8(S:0-1), gpu:1g.10gb:7, next to
    shards and mps, which are shares of the same GPUs. A type may be any word that is no count.
    """
    types: list[str] = []
    for resource in _PARENTHESES.sub("", gres).split(","):
        name, *rest = resource.strip().removeprefix("gres:").removeprefix("gres/").split(":")
        rest = [part for part in rest if part and part != "no_consume"]
        count = rest.pop() if rest and re.fullmatch(r"[0-9]+[KMGTP]?", rest[-1], re.I) else "1"
        if name == "gpu" and count.strip("0"):
            types.append(":".join(rest))
    return types


def slurm_settings() -> dict[str, str]:
    """The values of `scontrol show config`, by name; empty where SLURM does not answer."""
    lines = output_or_nothing("scontrol", "show", "config").split("\n")
    pairs = (line.partition("=") for line in lines if "=" in line)
    return {name.strip(): value.strip() for name, _, value in pairs}


def largest_array(settings: dict[str, str]) -> int | None:
    """The number of elements that a job array may have, from slurm_settings(); None if unknown.

    MaxArraySize 0 switches arrays off: then each run is a job of its own, an array of one.
    """
    limit = whole_number(settings.get("MaxArraySize", ""))
    return None if limit is None else max(1, limit)


def parse_time_limit(limit: str) -> int:
    """Whole minutes of SLURM's `days-hours:minutes:seconds`, whose leading zero parts are left out;
    0 for no limit.
    """
    number = "([0-9]{1,6})"
    match = re.fullmatch(f"(?:{number}-)?(?:{number}:)?{number}:{number}", limit)
    if not match:
        return 0
    days, hours, minutes, _ = (int(part or 0) for part in match.groups())
    return (days * 24 + hours) * 60 + minutes
