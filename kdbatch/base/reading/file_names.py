"""Names that a file states and that become the name of a file or folder."""

from kdbatch.base.errors import UserError
from kdbatch.base.reading.shown_values import shown


def check_plain_name(name: str, *, where: str) -> None:
    """Check that a name cannot lead out of the folder that it is looked up in.

    Raises:
        UserError: it is empty, `.` or `..`, or contains a slash.
    """
    if name in ("", ".", "..") or "/" in name or "\0" in name:
        raise UserError(f"{where}: found {shown(name)}, which is no name of a file or folder.")
