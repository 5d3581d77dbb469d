"""Writes figures; one that is on the disk as it would be drawn is not drawn again.

`figures/drawn.json` has, for each figure, the digest of its drawing and of its two files. Another
version of the program that draws, or of matplotlib, draws all of them.
"""

import contextlib
import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path

from kdbatch.base.atomic_write import atomic_write, load_json_object, write_json
from kdbatch.base.digests.sha256 import DigestError, read_verified
from kdbatch.base.errors import UserError
from kdbatch.base.parse import parse
from kdbatch.report.figures.drawing import Drawing
from kdbatch.report.figures.render.svg import svg_parts

DRAWN = "drawn.json"


@dataclass(frozen=True, kw_only=True)
class SavedFigure:
    """A figure that was written as `name`.png and `name`.pdf; for the page with an `<svg>` for each
    of its parts, and of its key's.
    """

    name: str
    title: str
    caption: str
    family: str
    svgs: list[str]
    key: list[str]


@dataclass(frozen=True, kw_only=True)
class _Digests:
    """The sha256 of a drawing and of the files that were made of it."""

    drawing: str
    png: str
    pdf: str


@dataclass(frozen=True, kw_only=True)
class _Drawn:
    """The contents of `drawn.json`."""

    drawer: str
    figures: dict[str, _Digests]


@dataclass(frozen=True, kw_only=True)
class FigureFolder:
    """The figures of a report. `known` are those that were drawn by an earlier one."""

    path: Path
    drawer: str
    known: Mapping[str, _Digests]
    saved: dict[str, _Digests] = field(default_factory=dict)

    @classmethod
    def open(cls, path: Path) -> "FigureFolder":
        """Read which figures are there; a list that is missing or damaged counts as empty."""
        drawer = _drawer_digest()
        with contextlib.suppress(UserError):
            drawn = parse(_Drawn, load_json_object(path / DRAWN), where=DRAWN)
            if drawn.drawer == drawer:
                return cls(path=path, drawer=drawer, known=drawn.figures)
        return cls(path=path, drawer=drawer, known={})

    def save(self, name: str, drawing: Drawing) -> SavedFigure:
        """Write a figure as PNG and PDF, unless both are there as it would be drawn."""
        known, digest = self.known.get(name), drawing.digest
        is_there = known and known.drawing == digest and _are_unchanged(self.path / name, known)
        if known is None or not is_there:
            known = self._draw(name, drawing, digest)
        self.saved[name] = known
        svgs, key = svg_parts(drawing)
        return SavedFigure(
            name=name,
            title=drawing.title,
            caption=drawing.caption,
            family=drawing.family,
            svgs=svgs,
            key=key,
        )

    def _draw(self, name: str, drawing: Drawing, digest: str) -> _Digests:
        # Imports matplotlib, which takes longer than all that is done for a figure on the disk.
        from kdbatch.report.figures.render.files import draw_pdf, draw_png  # noqa: PLC0415

        png, pdf = draw_png(drawing), draw_pdf(drawing)
        atomic_write(self.path / f"{name}.png", lambda part: _write(part, png))
        atomic_write(self.path / f"{name}.pdf", lambda part: _write(part, pdf))
        return _Digests(drawing=digest, png=_sha256(png), pdf=_sha256(pdf))

    def close(self) -> None:
        """Write which figures are there."""
        if self.saved != self.known:
            write_json(self.path / DRAWN, asdict(_Drawn(drawer=self.drawer, figures=self.saved)))


def _are_unchanged(stem: Path, known: _Digests) -> bool:
    """Whether both files are those that were written."""
    try:
        read_verified(stem.with_name(f"{stem.name}.pdf"), known.pdf)
        read_verified(stem.with_name(f"{stem.name}.png"), known.png)
    except (DigestError, OSError):
        return False
    return True


def _drawer_digest() -> str:
    """The digest of all that drawings pass through: our modules, and the version of matplotlib."""
    here = Path(__file__).parent
    modules = here / "drawing.py", *sorted((here / "render").glob("*.py"))
    texts = [version("matplotlib").encode(), *(module.read_bytes() for module in modules)]
    return _sha256(b"\0".join(texts))


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _write(part: Path, content: bytes) -> None:
    part.write_bytes(content)
