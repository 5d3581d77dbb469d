"""Arguments of `kdbatch shard`, and the command line that repeats them."""

import dataclasses
from dataclasses import dataclass
from typing import Annotated

from kdbatch.base.command_lines import command_line, flag_words
from kdbatch.base.reading.field_facts import Limits, Share, check_limits


@dataclass(frozen=True, kw_only=True)
class ShardRequest:
    """The arguments of `kdbatch shard` that concern the shards.

    "" and 0 leave the choice to kdbatch.
    """

    dataset: str
    split: str = ""
    subset: str = "all"
    videos_per_shard: Annotated[
        int, Limits("videos", least=1, most=1_000_000, advice="; 250 is usual")
    ] = 250
    max_rejected: Share = 0.01
    transcode: bool = True
    processes: Annotated[int, Limits("processes", least=0, most=10_000)] = 0
    root: str = ""

    def __post_init__(self) -> None:
        check_limits(self)

    @property
    def arguments(self) -> tuple[str, ...]:
        """Arguments of the command `kdbatch`, without those that have their default."""
        defaults = dataclasses.asdict(ShardRequest(dataset=self.dataset))
        arguments = ["shard", self.dataset]
        for name, value in dataclasses.asdict(self).items():
            if value == defaults[name]:
                continue
            if name == "transcode":
                arguments.append("--no-transcode")
            else:
                arguments += flag_words(f"--{name.replace('_', '-')}", value)
        return tuple(arguments)

    @property
    def command(self) -> str:
        """The command line, quoted for a shell."""
        return command_line(*self.arguments)
