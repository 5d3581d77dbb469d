"""A second shell: `launch_shell.py run|submit FOLDER SHAPE [WORKER...]`, SHAPE as JSON."""

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from kdbatch.launch.local.run import run_locally
from kdbatch.launch.slurm.submit import submit_arrays
from support.launching import config_in, plan_of


def main(verb: str, folder: str, shape: str, *command: str) -> int:
    plan, config = (
        plan_of({name: tuple(parents) for name, parents in json.loads(shape).items()}),
        config_in(Path(folder)),
    )
    if verb == "submit":
        sys.stdout.write(f"{len(submit_arrays(plan, config=config))}\n")
        return 0
    outcome = run_locally(plan, config=config, jobs=2, command=command)
    sys.stdout.write(f"{outcome.summary}\n")
    return 0 if outcome.complete else 3


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
