"""A second shell: `launch_shell.py run|submit FOLDER SHAPE [WORKER...]`, SHAPE as JSON; exits 0 when every run is done."""

import json
import sys
from pathlib import Path

from launch_world import config_in, plan_of

from kdbatch.launch.local import run_locally
from kdbatch.launch.slurm import submit_arrays


def main(verb: str, folder: str, shape: str, *command: str) -> int:
    plan, config = plan_of({name: tuple(parents) for name, parents in json.loads(shape).items()}), config_in(Path(folder))
    if verb == "submit":
        sys.stdout.write(f"{len(submit_arrays(plan, config=config))}\n")
        return 0
    outcome = run_locally(plan, config=config, jobs=2, command=command)
    sys.stdout.write(f"{outcome.says}\n")
    return 0 if outcome.complete else 3


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
