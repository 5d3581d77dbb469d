"""The experiments and profiles that come with kdbatch: `jobs/` of the repository, as package data.

`kdbatch init` writes copies of them into a study.
"""

from pathlib import Path

from kdbatch.base.command_lines import init_command
from kdbatch.base.errors import UserError
from kdbatch.base.lookup import did_you_mean
from kdbatch.base.study_folder import find_study

SHIPPED_JOBS = Path(__file__).parents[1] / "jobs"  # in the repository a link to its jobs/
SHIPPED_PROFILES = SHIPPED_JOBS / "profiles"


def shipped_files() -> tuple[Path, ...]:
    """The files below SHIPPED_JOBS, as paths relative to it."""
    found = (path for path in SHIPPED_JOBS.rglob("*") if path.suffix in (".yaml", ".json"))
    return tuple(sorted(path.relative_to(SHIPPED_JOBS) for path in found))


def check_experiment_exists(path: Path) -> None:
    """Check this before the profile of the experiment is looked for.

    Raises:
        UserError: there is no such file; the message has the command that writes the experiments
            of the study.
    """
    if path.exists():
        return
    shipped = [found.stem for found in sorted(SHIPPED_JOBS.glob("*.yaml"))]
    here = [found.name for found in sorted(path.parent.glob("*.yaml"))]
    in_study = find_study() / path
    if in_study.exists():
        hint = f" The study has {in_study}."
    elif here:
        hint = f"{did_you_mean(path.name, here)} Experiments there: {', '.join(here)}."
    elif path.stem in shipped:
        hint = f" kdbatch brings it. Write it into jobs/: {init_command()}"
    else:
        hint = f" kdbatch brings {', '.join(shipped)}. Write them into jobs/: {init_command()}"
    raise UserError(f"{path}: there is no such file.{hint}")


def find_profile(experiment: Path, name: str) -> Path:
    """The file of the profile `name`: next to the experiment if it is there, else the shipped one.

    Raises:
        UserError: there is no such profile.
    """
    own, shipped = experiment.parent / "profiles", SHIPPED_PROFILES
    if Path(name).stem != name:
        raise UserError(
            f"--profile {name}: a profile is named without its folder and ending. "
            f"Write --profile {Path(name).stem}."
        )
    for folder in (own, shipped):
        if (folder / f"{name}.yaml").exists():
            return folder / f"{name}.yaml"
    known = sorted({path.stem for folder in (own, shipped) for path in folder.glob("*.yaml")})
    raise UserError(
        f"--profile {name}: there is no {own / name}.yaml, and kdbatch brings none of that name."
        f"{did_you_mean(name, known)} Profiles: {', '.join(known)}."
    )
