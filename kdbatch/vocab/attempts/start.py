"""The start of a worker, as environment variables describe it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields

from kdbatch.base.reading.field_facts import Count, Time

EXIT = re.compile(r"(?:^|;)([0-9]{1,9}) ([^;]*)")  # the number of a start, and how it ended
START_VARIABLES = {
    "job": "KDBATCH_JOB",
    "restart": "KDBATCH_RESTART",
    "ends_at": "KDBATCH_ENDS_AT",
    "signal_seconds": "KDBATCH_SIGNAL_SECONDS",
    "exits": "KDBATCH_EXITS",
    "last_state": "KDBATCH_LAST_STATE",
    "image_sha256": "KDBATCH_IMAGE_SHA256",
    "parent_pid": "KDBATCH_PARENT_PID",
    "node": "SLURMD_NODENAME",
}
"""The environment variable of each field of a Start; job.sh exports the first six, and SLURM the
last.
"""


@dataclass(frozen=True, kw_only=True)
class Start:
    """Facts about a worker's start that it is given in environment variables.

    By the job's script: `job` is its id, 41 or 41_3; `restart` counts the starts before this one.
    `ends_at` is its time limit in seconds since 1970, 0 for none; SIGUSR2 comes `signal_seconds`
    before that. `exits` are the exit codes of those earlier starts whose end the script saw, by
    number; `last_state` is the accounting's state of the last one.

    By the local queue: `parent_pid`, the process that the worker must not outlive. By both:
    `image_sha256`, the hash of the image that it runs in. By SLURM: `node`, its name.
    """

    job: str = ""
    restart: Count = 0
    ends_at: Time = 0.0
    signal_seconds: Time = 0.0
    exits: Mapping[Count, str] = field(default_factory=dict)
    last_state: str = ""
    image_sha256: str = ""
    parent_pid: Count = 0
    node: str = ""

    @classmethod
    def from_environment(cls, env: Mapping[str, str]) -> "Start":
        """The start that `env` describes. A missing or malformed variable means the default."""
        text = {name: env.get(variable, "") for name, variable in START_VARIABLES.items()}
        return cls(
            job=text["job"],
            restart=int(_number(text["restart"])),
            ends_at=_number(text["ends_at"]),
            signal_seconds=_number(text["signal_seconds"]),
            exits={int(match[1]): match[2] for match in EXIT.finditer(text["exits"])},
            last_state=text["last_state"],
            image_sha256=text["image_sha256"],
            parent_pid=int(_number(text["parent_pid"])),
            node=text["node"],
        )

    def to_environment(self) -> dict[str, str]:
        """The variables of the fields that are not at their default."""
        texts = {item.name: str(getattr(self, item.name)) for item in fields(self)}
        texts["exits"] = "".join(f"{restart} {code};" for restart, code in self.exits.items())
        return {
            variable: texts[name]
            for name, variable in START_VARIABLES.items()
            if getattr(self, name)
        }

    def is_over(self, now: float) -> bool:
        """Whether half of the warning time has passed without the signal: the worker then stops."""
        return bool(self.ends_at) and now > self.ends_at - self.signal_seconds / 2


def _number(text: str) -> float:
    """The number; 0 where there is none, or none that a job's script writes."""
    return float(text) if re.fullmatch(r"[0-9]{1,12}(\.[0-9]*)?", text) else 0.0
