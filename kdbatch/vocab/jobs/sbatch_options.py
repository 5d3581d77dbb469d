"""Options of sbatch that a site needs, for all jobs or for one kind of run."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated

from kdbatch.base.errors import UserError
from kdbatch.base.reading.field_facts import UNPRINTABLE, Limits
from kdbatch.base.reading.shown_values import shown

OptionValue = str | bool | Annotated[int, Limits("value", least=-(10**9), most=10**9)]
"""The value of an option; true for one without a value, false for one that is left out."""

TEXTS = ("partition", "account", "qos", "constraint", "gpu_type")
"""The fields of SbatchOptions that are one word for sbatch."""

_NAME = re.compile(r"[a-z][a-z0-9]+(-[a-z0-9]+)*")
_RESOURCES = "under [resources.KIND]"
_FIELDS = {
    **{name: f"{name} = ... in the same table" for name in TEXTS[:4]},
    "time": f"minutes = ... {_RESOURCES}",
    "nodes": f"nodes = ... {_RESOURCES}",
    "ntasks": f"gpus = ... {_RESOURCES}: a process for each",
    "ntasks-per-node": f"gpus = ... {_RESOURCES}: a process for each",
    "cpus-per-task": f"cpus = ... {_RESOURCES}: the cores of a node, for all of its processes",
    "mem": f"memory_gb = ... {_RESOURCES}",
    "mem-per-cpu": f"memory_gb = ... {_RESOURCES}, for a node",
    "mem-per-gpu": f"memory_gb = ... {_RESOURCES}, for a node",
    "gpus": f"gpus = ... {_RESOURCES}, for a node",
    "gpus-per-node": f'gpus = ... {_RESOURCES}, and gpu_flag = "gpus-per-node" under [site]',
    "gpus-per-task": f"gpus = ... {_RESOURCES}: a process for each",
    "array": "max_concurrent = ... under [site]",
}
_OWN = (
    *("begin", "chdir", "dependency", "error", "export-file", "hold", "input", "job-name"),
    *("kill-on-invalid-dep", "no-kill", "no-requeue", "open-mode", "output", "requeue", "signal"),
)
_NO_JOB = (
    *("clusters", "help", "parsable", "quiet", "test-only", "usage", "version", "verbose", "wait"),
    "wrap",
)


@dataclass(frozen=True, kw_only=True)
class SbatchOptions:
    """Options of sbatch, under [site] for all jobs, and under [resources.KIND] for one kind of run:
    what is left out there is as under [site], and an empty text means that the job has no such
    option.
    """

    partition: str | None = None
    """Partition, or several with commas; where none is named, the site's default."""
    account: str | None = None
    """Account that jobs are charged to."""
    qos: str | None = None
    """Quality of service."""
    constraint: str | None = None
    """Features that nodes must have."""
    gpu_type: str | None = None
    """Type of GPU to request, as sinfo names it."""
    sbatch: dict[str, OptionValue] = field(default_factory=dict)
    """Further options of sbatch, by their long names; true is an option without a value, and false
    leaves out one of [site]. `gres` is requested in addition to the GPUs.
    """

    def __post_init__(self) -> None:
        for name in TEXTS:
            _check_value(getattr(self, name) or "", where=name)
        for name, value in self.sbatch.items():
            _check_option(name, value)

    def over(self, others: "SbatchOptions") -> "SbatchOptions":
        """These options, and `others` where these say nothing."""
        sbatch = others.sbatch | self.sbatch
        texts = {name: (getattr(self, name), getattr(others, name)) for name in TEXTS}
        return SbatchOptions(
            **{name: own if own is not None else other for name, (own, other) in texts.items()},
            sbatch={name: value for name, value in sbatch.items() if value is not False},
        )

    @property
    def flags(self) -> Mapping[str, OptionValue]:
        """The options by the names that sbatch has for them, without the GPUs."""
        texts = {name: getattr(self, name) for name in TEXTS[:4]}
        return {name: value for name, value in (texts | self.sbatch).items() if value}


def _check_option(name: str, value: OptionValue) -> None:
    where = f"sbatch.{name}"
    if not _NAME.fullmatch(name):
        raise UserError(
            f"sbatch: {shown(name)} is no long name of an option, such as mail-type. "
            "The names: sbatch --help"
        )
    if name in _FIELDS:
        raise UserError(f"{where}: kdbatch sets --{name} itself. Write {_FIELDS[name]}.")
    if name in _OWN:
        raise UserError(f"{where}: kdbatch needs --{name} for itself. Leave it out.")
    if name in _NO_JOB:
        raise UserError(f"{where}: --{name} changes what sbatch does, and no job. Leave it out.")
    if name == "gres" and re.search(r"(^|,)(gres[:/])?gpu\b", str(value)):
        raise UserError(f"{where}: found {shown(value)}. Write gpus = ... {_RESOURCES}.")
    if value == "":
        raise UserError(f"{where}: is empty. Write true for an option without a value.")
    _check_value(str(value), where=where)


def _check_value(value: str, *, where: str) -> None:
    found = UNPRINTABLE.search(value) or re.search("[\t\n]", value)
    if found or value.startswith("-"):
        what = "a line feed or another control character" if found else "an option"
        raise UserError(
            f"{where}: found {shown(value)}, which is {what} for sbatch. Write one word."
        )
