"""Names files for libraries that also open URLs, patterns and `~`."""

from pathlib import Path


def local_name(path: Path) -> str:
    """The absolute name of a file: nothing that begins with a slash has a scheme such as `concat:`,
    `http:` or `s3:` in front, for FFmpeg, Arrow and Polars alike.
    """
    return str(path.absolute())
