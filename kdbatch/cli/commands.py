"""The class of all commands of `kdbatch`, and the entry point that dispatches to them."""

import sys

from kdbatch.base.output.standard_streams import repair_streams
from kdbatch.cli.command import dispatch
from kdbatch.cli.groups.bench import BenchCommands
from kdbatch.cli.groups.results import ResultCommands
from kdbatch.cli.groups.runs import RunCommands
from kdbatch.cli.groups.videos import VideoCommands


def main() -> None:
    """Run the command line of this process, and exit."""
    repair_streams()
    sys.exit(dispatch(Commands(), sys.argv[1:]))


class Commands(VideoCommands, RunCommands, ResultCommands, BenchCommands):
    """kdbatch runs distillation studies on video, from raw videos to a report.

    kdbatch shard k400 --subset 50k           videos -> WebDataset tars
    kdbatch submit jobs/task_complexity.yaml  experiment -> SLURM or local queue
    kdbatch report                            results -> tables, CKA maps, claims
    """

    def __dir__(self) -> list[str]:
        """The names of the commands, in the order of the groups, which is also that of the help."""
        groups = type(self).__mro__
        return [name for group in groups for name in vars(group) if not name.startswith("_")]
