"""Checks the experiments that were named on the command line, before any of them is read.

Each error ends with the whole command that was meant.
"""

from collections.abc import Callable, Iterator, Sequence
from difflib import get_close_matches
from pathlib import Path

from kdbatch.base.errors import UserError
from kdbatch.base.study_folder import find_study
from kdbatch.plan.shipped_jobs import SHIPPED_PROFILES

ENDINGS = (".yaml", ".yml")
Repeat = Callable[[Sequence[Path], str], str]
"""The command line with these files, and with this profile; "" is the profile as typed."""


def check_experiments(files: Sequence[Path], *, repeat: Repeat) -> tuple[Path, ...]:
    """The files, each of which exists and may be an experiment.

    Raises:
        UserError: no file is named, or one is a profile, a folder, a pattern, misspelt, named twice
            or of the same name as another.
    """
    if not files:
        usual = Path("jobs/subset_size.yaml")
        raise UserError(f"name at least one experiment, as in: {repeat([usual], '')}")
    for file in files:
        others = [other for other in files if other != file]
        for check in (_check_profile, _check_folder, _check_pattern, _check_spelling):
            check(file, others, repeat)
    _check_names(files, repeat)
    return tuple(files)


def _check_profile(file: Path, others: Sequence[Path], repeat: Repeat) -> None:
    """A profile in place of an experiment: its name without --profile, or its file."""
    is_file = file.parent.name == "profiles" and file.suffix in ENDINGS
    is_name = not file.suffix and len(file.parts) == 1 and not file.exists()
    if not is_file and not (is_name and file.name in _profiles(others)):
        return
    experiments = others or _experiments_in(file.parent.parent if is_file else Path("jobs"))[:1]
    command = repeat(experiments or [Path("jobs/subset_size.yaml")], file.stem)
    raise UserError(f"{file}: is a profile, not an experiment. Write: {command}")


def _check_folder(file: Path, others: Sequence[Path], repeat: Repeat) -> None:
    if not file.is_dir():
        return
    found = _experiments_in(file)
    if not found:
        raise UserError(f"{file}: is a folder, and has no experiments. Name a .yaml file.")
    raise UserError(f"{file}: is a folder. Name its experiments: {repeat([*others, *found], '')}")


def _check_pattern(file: Path, others: Sequence[Path], repeat: Repeat) -> None:
    """A pattern such as `jobs/*.yaml` in quotes, which the shell then leaves to us."""
    if file.exists() or not set("*?[") & set(str(file)):
        return
    pattern = str(file)
    found = sorted(Path().glob(pattern)) if not file.is_absolute() else []
    if not found:
        raise UserError(f"{file}: no file matches this pattern. Name the experiments one by one.")
    raise UserError(
        f"{file}: the quotes keep the shell from listing the files. Leave them out, or write: "
        f"{repeat([*others, *found], '')}"
    )


def _check_spelling(file: Path, others: Sequence[Path], repeat: Repeat) -> None:
    """A file that does not exist while another one is meant, or that is no experiment."""
    if file.is_file():
        if file.suffix not in ENDINGS:
            raise UserError(f"{file}: is no experiment: these are .yaml files, as those in jobs/.")
        return
    known = {path.stem: path for path in _known_experiments(file)}
    stem = file.stem if file.suffix in ENDINGS else file.name
    if near := get_close_matches(stem, known, n=1):
        meant = known[near[0]]
        command = repeat([*others, meant], "")
        hint = f"The experiment is {meant}" if near[0] == stem else f"Did you mean {meant}"
        mark = "." if near[0] == stem else "?"
        raise UserError(f"{file}: there is no such file. {hint}{mark} Write: {command}")


def _check_names(files: Sequence[Path], repeat: Repeat) -> None:
    by_name: dict[str, Path] = {}
    for i, file in enumerate(files):
        earlier = by_name.setdefault(file.stem, file)
        if file in files[:i]:
            raise UserError(
                f"{file}: is named twice. Write: {repeat(tuple(dict.fromkeys(files)), '')}"
            )
        if earlier != file:
            raise UserError(
                f"{file}: has the name of {earlier}, and the plan of one would replace that of the "
                "other. Rename one, with its field name."
            )


def _experiments_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*") if path.suffix in ENDINGS)


def _known_experiments(file: Path) -> Iterator[Path]:
    """The experiments that somebody who typed `file` may have meant; the likeliest come last."""
    study = find_study()
    for folder in dict.fromkeys((study, study / "jobs", Path("jobs"), Path(), file.parent)):
        yield from _experiments_in(folder)


def _profiles(others: Sequence[Path]) -> set[str]:
    """The names of the profiles of these experiments, of jobs/ and of kdbatch itself."""
    folders = [file.parent / "profiles" for file in others]
    folders += [Path("jobs/profiles"), SHIPPED_PROFILES]
    return {path.stem for folder in folders for path in folder.glob("*.yaml")}
