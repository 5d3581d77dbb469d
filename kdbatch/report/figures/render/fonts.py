"""Makes the figures' font: the glyphs of DejaVu Sans that labels use.

A PDF embeds the font. With all glyphs this takes longer than the drawing.
"""

import atexit
from contextlib import ExitStack
from functools import cache
from pathlib import Path

from fontTools import subset
from matplotlib.font_manager import FontProperties, findfont, fontManager

from kdbatch.base.atomic_write import atomic_write
from kdbatch.base.temporary.temporary_folder import temporary_folder

BASE_FAMILY = "DejaVu Sans"  # part of matplotlib: the same glyphs on every machine
SUBSET_FAMILY = "kdbatch Sans"
FAMILY_NAME_IDS = (1, 16)  # OpenType, table `name`: family and typographic family
UNUSED_TABLES = ["FFTM", "GDEF", "GPOS", "GSUB", "MATH"]
# Latin of Western Europe, Greek, dashes and dots, arrows, comparisons: a PDF takes time by the
# length of this list. Other characters fall back to BASE_FAMILY.
CHARACTERS = (
    *range(0x20, 0x100),
    *range(0x391, 0x3CA),
    *range(0x2010, 0x2027),
    *range(0x2190, 0x2194),
    0x2212,
    *(0x2248, 0x2260, 0x2264, 0x2265),
)


@cache
def register_fonts() -> None:
    """Make the subset font and register it with matplotlib.

    The files stay until the program ends, because matplotlib opens them again for every figure.
    """
    until_exit = ExitStack()
    atexit.register(until_exit.close)
    folder = until_exit.enter_context(temporary_folder("fonts"))
    for weight in ("normal", "bold"):
        path = folder / f"{weight}.ttf"
        _write_subset(findfont(FontProperties(family=BASE_FAMILY, weight=weight)), path)
        fontManager.addfont(path)


def _write_subset(source: str, path: Path) -> None:
    options = subset.Options(
        layout_features=["kern"], glyph_names=True, name_IDs=["*"], hinting=False, legacy_kern=True
    )
    options.drop_tables += UNUSED_TABLES
    with subset.load_font(source, options) as font:
        subsetter = subset.Subsetter(options)
        subsetter.populate(unicodes=CHARACTERS)
        subsetter.subset(font)
        for entry in font["name"].names:
            if entry.nameID in FAMILY_NAME_IDS:
                entry.string = SUBSET_FAMILY.encode(entry.getEncoding())
        atomic_write(path, font.save)
