"""Names of images in a registry: oras://HOST/NAME@sha256:DIGEST, and docker:// likewise."""

import re
from dataclasses import dataclass

from kdbatch.base.errors import UserError
from kdbatch.base.reading.shown_values import shown

_REFERENCE = re.compile(
    r"(?P<scheme>docker|oras)://(?P<name>[\w.:/-]+?)(?::(?P<tag>\w[\w.-]*))?"
    r"(?:@sha256:(?P<digest>[0-9a-f]{64}))?",
    re.ASCII,
)


@dataclass(frozen=True, kw_only=True)
class ImageReference:
    """An image in a registry. A digest always means one image, a tag what its owner likes."""

    scheme: str
    name: str
    tag: str
    digest: str

    @property
    def file_name(self) -> str:
        """The name of the file that the image is pulled into."""
        return f"{self.name.rpartition('/')[2].replace(':', '-')}-{self.digest[:16]}.sif"

    def with_digest(self, digest: str) -> str:
        """The reference to write in the place of this one."""
        return f"{self.scheme}://{self.name}@sha256:{digest}"


def image_reference(image: str) -> ImageReference | None:
    """The reference that the field `image` of [container] holds; None for a path.

    Raises:
        UserError: it is neither a path nor a reference, or has both a tag and a digest.
    """
    if "://" not in image:
        return None
    found = _REFERENCE.fullmatch(image)
    if not found:
        raise UserError(
            f"image: found {shown(image)}. Write the path of a file, or "
            "oras://HOST/NAME@sha256:DIGEST (docker:// likewise)."
        )
    reference = ImageReference(**{name: text or "" for name, text in found.groupdict().items()})
    if reference.tag and reference.digest:
        written = reference.with_digest(reference.digest)
        raise UserError(f"image: has a tag and a digest. Write the digest alone: {written}")
    return reference
