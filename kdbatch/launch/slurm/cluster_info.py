"""What a login node can see of its site: partitions, SLURM's settings, the container runtime.
Everything may be missing.
"""

import re
import subprocess
from dataclasses import dataclass

from kdbatch.launch.machine import has_command, no_slurm_variables


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
    for line in output_of("sinfo", "--noheader", "--format=%P|%l|%G").splitlines():
        name, limit, gres = (*line.strip().split("|"), "", "")[:3]
        kinds = re.findall(r"\bgpu(?::([A-Za-z][\w.-]*))?(?::\d+|\b)", gres)
        before = found.get(name.rstrip("*"))
        found[name.rstrip("*")] = Partition(
            name=name.rstrip("*"),
            is_default=name.endswith("*"),
            minutes=minutes_of(limit),
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
        for line in output_of("scontrol", "show", "config").splitlines()
        if "=" in line
    )
    return {name.strip(): value.strip() for name, _, value in pairs}


def minutes_of(limit: str) -> int:
    """SLURM's `days-hours:minutes:seconds`, without what is zero in front, in whole minutes; 0 for
    no limit.
    """
    found = re.fullmatch(r"(?:(\d+)-)?(?:(\d+):)?(\d+):(\d+)", limit)
    if not found:
        return 0
    days, hours, minutes, _ = (int(number or 0) for number in found.groups())
    return (days * 24 + hours) * 60 + minutes


def output_of(*command: str, seconds: float = 30.0) -> str:
    """What a command prints; nothing where it is missing, fails or hangs, as these questions may
    all go unanswered.
    """
    if not has_command(command[0]):
        return ""
    try:
        with no_slurm_variables():
            return subprocess.run(
                command, capture_output=True, text=True, timeout=seconds, check=True
            ).stdout
    except (subprocess.SubprocessError, OSError):
        return ""
