"""The configuration of the study that a command was typed in, and the messages about its folder."""

import os
from pathlib import Path

from kdbatch.base.command_lines import init_command
from kdbatch.base.errors import UserError
from kdbatch.base.folders.presence import is_present
from kdbatch.base.study_folder import CONFIG_NAME, find_study
from kdbatch.cli.terminal import warn
from kdbatch.vocab.config import Config, load_config

NO_STUDY = (
    f"no study here: neither this folder nor one above has a {CONFIG_NAME}, and this one has no "
    f"runs. Go to the folder of your study, or start one here: {init_command()}"
)


def load_study_config() -> Config:
    """The configuration of the study; its folder is named where it is not the current one."""
    folder = find_study()
    if folder.parts:
        warn(f"the study is in {folder.resolve()}/, which has the {CONFIG_NAME}")
    return load_config(folder / CONFIG_NAME)


def load_existing_config() -> Config:
    """The same, for commands that need one.

    Raises:
        UserError: there is no study.
    """
    config = load_study_config()
    if not is_study(config):
        raise UserError(NO_STUDY)
    return config


def check_target(folder: Path, config: Config, *, spelling: str) -> None:
    """Check that what a command writes does not mix with what the study is made of.

    Raises:
        UserError: `folder` lies in one of the study's own folders; `spelling` is how another is
            named.
    """
    own = {
        "the runs": config.runs_dir,
        "the shards": config.shards_dir,
        "the experiments": find_study() / "jobs",
        **{f"the videos of {name}": Path(d.root) for name, d in config.datasets.items()},
    }
    study = _real(find_study())
    for what, place in own.items():
        is_around = study.is_relative_to(_real(place))  # such as a disk with all of the videos
        if _real(folder).is_relative_to(_real(place)) and not is_around:
            raise UserError(f"{folder}: {place}/ is for {what}. Name another folder: {spelling}")


def _real(path: Path) -> Path:
    """The path without links; one that leads in a circle stays, where Path.resolve() raises."""
    return Path(os.path.realpath(path))


def is_study(config: Config) -> bool:
    """Whether there is a kdbatch.toml, or else runs or shards."""
    has_file = is_present(find_study() / CONFIG_NAME)
    return has_file or is_present(config.runs_dir) or is_present(config.shards_dir)
