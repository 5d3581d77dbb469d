"""Pulls the image of a registry, once for all studies and jobs of a site."""

import subprocess
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from kdbatch.base.atomic_write import atomic_write, write_json
from kdbatch.base.command_lines import shell_line
from kdbatch.base.digests.sha256 import sha256_of
from kdbatch.base.errors import UserError
from kdbatch.base.locks import hold_lock
from kdbatch.launch.container.command import check_container
from kdbatch.launch.container.image import describe_file, image_path, is_whole, record_of
from kdbatch.launch.machine import ask, has_command
from kdbatch.vocab.config import Config
from kdbatch.vocab.jobs.images import image_reference

PULL_SECONDS = 4 * 3600


def say_nothing(line: str) -> None:
    """Drop the line."""


def prepare_container(
    config: Config, *, on_this_machine: bool, say: Callable[[str], None] = say_nothing
) -> None:
    """Check the container as `check_container` does, and pull its image if it is not here. `say`
    gets a line before what may take minutes.

    The image gets its name in [paths] images when it is whole and its hash is recorded next to it:
    what an interrupted process leaves is never used. Processes that need it at the same time wait
    for the first.

    Raises:
        UserError: as of check_container, or the runtime cannot pull the image.
    """
    check_container(config, on_this_machine=on_this_machine)
    if not image_reference(config.container.image) or is_whole(config):
        return
    path = image_path(config)
    say(f"{config.container.image} is pulled into {path}, once")
    with hold_lock(path.with_suffix(".lock")):
        if not is_whole(config):
            record_of(config).unlink(missing_ok=True)
            atomic_write(path, lambda part: _pull(config, part))


def _pull(config: Config, part: Path) -> None:
    runtime, reference = config.container.runtime, config.container.image
    if not has_command(runtime):
        raise UserError(
            f"kdbatch.toml: container.runtime: no command {runtime!r} here, which pulls the image. "
            "Load its module, or install Apptainer."
        )
    command = (runtime, "pull", "--force", str(part), reference)
    try:
        answer = ask(command, seconds=PULL_SECONDS)
        problem = answer.complaint.strip().rpartition("\n")[2] if answer.code else ""
    except subprocess.TimeoutExpired:
        problem = f"no end after {PULL_SECONDS // 3600} hours"
    if problem or not part.is_file():
        raise UserError(
            f"kdbatch.toml: container.image: {reference} was not pulled "
            f"({problem or 'there is no file'}). Try it: "
            f"{shell_line(runtime, 'pull', image_path(config).name, reference)}"
        )
    write_json(record_of(config), asdict(describe_file(part, sha256=sha256_of(part))))
