"""The sha256 of the image that a worker runs in, for done.json.

It is computed once for a file and noted, as hashing gigabytes takes seconds.
"""

import hashlib
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from kdbatch.base.atomic_write import load_json, write_json
from kdbatch.base.command_lines import shell_word
from kdbatch.base.errors import UserError
from kdbatch.base.parse import parse
from kdbatch.base.reading.field_facts import ByteCount, Count
from kdbatch.launch.run_folders import submissions_dir
from kdbatch.vocab.config import Config
from kdbatch.vocab.retry_policy import START_VARIABLES


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


def image_file(config: Config) -> ImageFile | None:
    """The image of `[container]`; None without one, or where it is an unpacked folder, which has no
    hash.
    """
    path = Path(config.container.image).resolve()
    if not config.container.image or not path.is_file():
        return None
    note, stat = submissions_dir(config.runs_dir) / "image.json", path.stat()
    image = ImageFile(
        path=str(path), num_bytes=stat.st_size, modified=int(stat.st_mtime), sha256=""
    )
    noted = _load_note(note)
    if noted and replace(noted, sha256="") == image:
        return noted
    with path.open("rb") as file:
        image = replace(image, sha256=hashlib.file_digest(file, "sha256").hexdigest())
    write_json(note, asdict(image))
    return image


def _load_note(path: Path) -> ImageFile | None:
    try:
        return parse(ImageFile, load_json(path), where=str(path)) if path.exists() else None
    except UserError:
        return None  # a damaged note is written again
