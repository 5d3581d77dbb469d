"""The files of teachers from elsewhere: whether they are there, their sha256, and class names.

Names and shapes of tensors, and tables of outputs, are compared by kdbatch.run.imports, which needs
the packages of a worker; launch/checks/imported_files.py asks it.
"""

from functools import lru_cache
from pathlib import Path

from kdbatch.base.digests.sha256 import sha256_of
from kdbatch.base.errors import UserError, unreadable
from kdbatch.base.folders.presence import is_present
from kdbatch.base.reading.regular_files import read_text
from kdbatch.base.study_folder import find_study
from kdbatch.plan.specs import TeacherSpec


def path_of(spec: TeacherSpec) -> Path:
    """The file of a teacher from elsewhere; a relative one is in the folder of the study."""
    return find_study() / (spec.weights or spec.outputs)


def check_is_there(spec: TeacherSpec, *, where: str) -> None:
    """Raise a UserError if there is no such file."""
    if not _is_file(path_of(spec)):
        raise UserError(
            f"{where}.{spec.file_field}: there is no file {path_of(spec)}. Put it there, or write "
            "the path from the folder of kdbatch.toml."
        )


def sha256_in(spec: TeacherSpec, *, where: str) -> str:
    """The sha256 of a teacher's file, which is that of the experiment's file if that has one.

    Raises:
        UserError: there is no such file, or it has another sha256 than it should.
    """
    path = path_of(spec)
    if spec.sha256 and not _is_file(path):
        return spec.sha256  # its import may be done, and the file no longer needed
    check_is_there(spec, where=where)
    found = _cached_sha256(path, path.stat().st_mtime_ns, path.stat().st_size)
    if spec.sha256 and found != spec.sha256:
        raise UserError(
            f"{where}.sha256: {path} has {found}. Fetch the file again, or write this sha256 if "
            "the file is the right one."
        )
    return found


def _is_file(path: Path) -> bool:
    return is_present(path) and path.is_file()


@lru_cache(maxsize=64)
def _cached_sha256(path: Path, mtime_ns: int, num_bytes: int) -> str:
    """Cached, because every seed and case of a plan asks again."""
    try:
        return sha256_of(path)
    except OSError as error:
        raise unreadable(path, error) from error


def class_names(spec: TeacherSpec, *, where: str) -> tuple[str, ...]:
    """The names in the file of classes, one a line.

    Raises:
        UserError: the file is missing, is not UTF-8, or has no names.
    """
    path = find_study() / spec.classes
    try:
        lines = read_text(path).splitlines()
    except OSError as error:
        raise UserError(
            f"{where}.classes: {path}: {error.strerror}. Write the names of the classes into it, "
            "one a line, in the order of the network's outputs."
        ) from error
    names = tuple(line.strip() for line in lines if line.strip())
    if not names:
        raise UserError(f"{where}.classes: {path} has no names. Write one a line.")
    return names
