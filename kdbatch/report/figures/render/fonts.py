"""The figures' font, DejaVu Sans: its files, and the parts of it that a PDF embeds."""

import zlib
from collections.abc import Collection
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from pathlib import Path

import matplotlib as mpl
from fontTools import subset

UNUSED_TABLES = ["FFTM", "GDEF", "GPOS", "GSUB", "MATH", "kern"]
UNITS_PER_EM = 2048  # of DejaVu Sans
# Latin of Western Europe, Greek, dashes and dots, arrows, comparisons: embedding takes time by the
# length of this list. A text with other characters has them from a font of its own.
PLAIN = frozenset(
    map(
        chr,
        (
            *range(0x20, 0x100),
            *range(0x391, 0x3CA),
            *range(0x2010, 0x2027),
            *range(0x2190, 0x2194),
            0x2212,
            *(0x2248, 0x2260, 0x2264, 0x2265),
        ),
    )
)


@dataclass(frozen=True, kw_only=True)
class EmbeddedFont:
    """A font of a PDF: glyphs by character, their widths in thousandths of the size, and the file,
    compressed.
    """

    glyphs: dict[str, int]
    widths: tuple[int, ...]
    content: bytes
    num_bytes: int

    def width(self, text: str) -> float:
        """The width of a text in units of its size; a box stands for an unknown character."""
        return sum(self.widths[self.glyphs.get(letter, 0)] for letter in text) / 1000


def font_path(*, is_bold: bool) -> Path:
    """Part of matplotlib: the same glyphs on every machine."""
    name = "DejaVuSans-Bold.ttf" if is_bold else "DejaVuSans.ttf"
    return Path(mpl.get_data_path()) / "fonts" / "ttf" / name


@cache
def embedded_font(*, is_bold: bool, letters: Collection[str] = PLAIN) -> EmbeddedFont:
    """The font with the glyphs of some characters: with all of them it is 40 times as large."""
    options = subset.Options(
        layout_features=[], glyph_names=False, name_IDs=[], hinting=False, notdef_outline=True
    )
    options.drop_tables += UNUSED_TABLES
    with subset.load_font(str(font_path(is_bold=is_bold)), options) as font:
        subsetter = subset.Subsetter(options)
        subsetter.populate(text="".join(letters))
        subsetter.subset(font)
        names = font.getGlyphOrder()
        indexes = {name: i for i, name in enumerate(names)}
        by_code = font.getBestCmap() or {}
        per_unit = 1000 / UNITS_PER_EM
        file = BytesIO()
        font.save(file)
        return EmbeddedFont(
            glyphs={chr(code): indexes[name] for code, name in by_code.items()},
            widths=tuple(round(per_unit * font["hmtx"][name][0]) for name in names),
            content=zlib.compress(file.getvalue()),
            num_bytes=len(file.getvalue()),
        )
