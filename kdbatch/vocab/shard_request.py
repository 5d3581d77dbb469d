"""What `kdbatch shard` is asked for, and the words to ask for it again."""

import dataclasses
import shlex
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class ShardRequest:
    """What is typed after `kdbatch shard` about the shards themselves; "" and 0 leave a choice to
    kdbatch.
    """

    dataset: str
    split: str = ""
    subset: str = "all"
    videos_per_shard: int = 250
    max_rejected: float = 0.01
    transcode: bool = True
    processes: int = 0
    root: str = ""

    @property
    def arguments(self) -> tuple[str, ...]:
        """What is as usual is left out."""
        usual = dataclasses.asdict(ShardRequest(dataset=self.dataset))
        words = ["shard", self.dataset]
        for name, value in dataclasses.asdict(self).items():
            if value != usual[name]:
                words += (
                    ["--no-transcode"]
                    if name == "transcode"
                    else [f"--{name.replace('_', '-')}", str(value)]
                )
        return tuple(words)

    @property
    def command(self) -> str:
        """As a line for a shell."""
        return shlex.join(("kdbatch", *self.arguments))
