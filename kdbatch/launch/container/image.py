"""Which image a run's worker is in: the sha256 of its file, for done.json. It is made once for a
file, as gigabytes take seconds.
"""

import hashlib
import shlex
from dataclasses import asdict, dataclass
from pathlib import Path

from kdbatch.base.atomic_write import load_json, write_json
from kdbatch.base.errors import UserError
from kdbatch.base.parse import parse
from kdbatch.launch.run_folders import submissions_dir
from kdbatch.vocab.config import Config
from kdbatch.vocab.retry_policy import START_VARIABLES


@dataclass(frozen=True, kw_only=True)
class ImageFile:
    """`modified` is the file's own time in seconds since 1970: whoever replaces an image in place
    changes it, or the size.
    """

    path: str
    num_bytes: int
    modified: int
    sha256: str

    @property
    def export_line(self) -> str:
        """A line for a node: the worker gets the hash if the file is still the one that was hashed."""
        variable = START_VARIABLES["image_sha256"]
        now = f'"$(stat -Lc "%s %Y" {shlex.quote(self.path)} 2>/dev/null)"'
        return f'[ {now} = "{self.num_bytes} {self.modified}" ] && export {variable}={self.sha256}'


def image_file(config: Config) -> ImageFile | None:
    """The image of `[container]`; None without one, and where it is an unpacked folder, which has
    no hash.
    """
    path = Path(config.container.image).resolve()
    if not config.container.image or not path.is_file():
        return None
    notes, found = submissions_dir(config.runs_dir) / "image.json", path.stat()
    noted = _load_note(notes)
    if noted and (noted.path, noted.num_bytes, noted.modified) == (
        str(path),
        found.st_size,
        int(found.st_mtime),
    ):
        return noted
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    image = ImageFile(
        path=str(path), num_bytes=found.st_size, modified=int(found.st_mtime), sha256=sha256
    )
    write_json(notes, asdict(image))
    return image


def _load_note(path: Path) -> ImageFile | None:
    try:
        return parse(ImageFile, load_json(path), where=str(path)) if path.exists() else None
    except UserError:
        return None  # a damaged note is written anew
