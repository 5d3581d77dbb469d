"""The image that a worker runs in: where it is, and its sha256, for done.json.

It is computed once for a file and noted, as hashing gigabytes takes seconds.
"""

from dataclasses import asdict, dataclass, replace
from pathlib import Path

from kdbatch.base.atomic_write import load_json, write_json
from kdbatch.base.command_lines import shell_word
from kdbatch.base.digests.sha256 import sha256_of
from kdbatch.base.errors import UserError
from kdbatch.base.parse import parse
from kdbatch.base.reading.field_facts import ByteCount, Count
from kdbatch.base.study_folder import expand_home
from kdbatch.launch.run_folders import submissions_dir
from kdbatch.vocab.attempts.start import START_VARIABLES
from kdbatch.vocab.config import Config
from kdbatch.vocab.jobs.images import image_reference


@dataclass(frozen=True, kw_only=True)
class ImageFile:
    """An image and its hash. `modified` is the file's time in seconds since 1970: replacing an
    image in place changes it, or the size.
    """

    path: str
    num_bytes: ByteCount
    modified: Count
    sha256: str

    @property
    def export_line(self) -> str:
        """A line of the job's script, which exports the hash if the file has not changed since."""
        variable = START_VARIABLES["image_sha256"]
        size_and_time = f'"$(stat -Lc "%s %Y" {shell_word(self.path)} 2>/dev/null)"'
        expected = f'"{self.num_bytes} {self.modified}"'
        return f"[ {size_and_time} = {expected} ] && export {variable}={self.sha256}"


def image_path(config: Config) -> Path:
    """The image of `[container]` on disk: a file, an unpacked folder, or where one of a registry is
    pulled to.
    """
    if reference := image_reference(config.container.image):
        return expand_home(config.paths.images).resolve() / reference.file_name
    return Path(config.container.image).resolve()


def record_of(config: Config) -> Path:
    """The file next to a pulled image that has its hash."""
    return image_path(config).with_suffix(".json")


def describe_file(path: Path, *, sha256: str = "") -> ImageFile:
    """A file as it is now, with its hash where that is known."""
    stat = path.stat()
    return ImageFile(
        path=str(path), num_bytes=stat.st_size, modified=int(stat.st_mtime), sha256=sha256
    )


def is_whole(config: Config) -> bool:
    """Whether an image of a registry is here, as it was pulled."""
    path, record = image_path(config), _load_note(record_of(config))
    return record is not None and path.is_file() and _is_same(record, describe_file(path))


def image_file(config: Config) -> ImageFile | None:
    """The image of `[container]`; None without one, where it is an unpacked folder, which has no
    hash, or not pulled yet.
    """
    path = image_path(config)
    if not config.container.image or not path.is_file():
        return None
    image = describe_file(path)
    if image_reference(config.container.image):
        record = _load_note(record_of(config))
        return replace(image, sha256=record.sha256) if record and is_whole(config) else None
    note = submissions_dir(config.runs_dir) / "image.json"
    noted = _load_note(note)
    if noted and replace(noted, sha256="") == image:
        return noted
    image = replace(image, sha256=sha256_of(path))
    write_json(note, asdict(image))
    return image


def _is_same(record: ImageFile, file: ImageFile) -> bool:
    """Whether a file has the size and the time of a record, whose folder may have moved."""
    return replace(record, path="", sha256="") == replace(file, path="", sha256="")


def _load_note(path: Path) -> ImageFile | None:
    try:
        return parse(ImageFile, load_json(path), where=str(path)) if path.exists() else None
    except UserError:
        return None  # a damaged note is written again
