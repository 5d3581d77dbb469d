"""The figures' font: those glyphs of DejaVu Sans that labels use, so that putting it into a PDF
takes no longer than the drawing.
"""

import atexit
import tempfile
from functools import cache
from pathlib import Path

from fontTools import subset
from matplotlib.font_manager import FontProperties, findfont, fontManager

BASE_FAMILY = "DejaVu Sans"  # ships with matplotlib: the same glyphs on every machine
SUBSET_FAMILY = "kdbatch Sans"
FAMILY_NAME_IDS = (1, 16)  # OpenType, table `name`: family and typographic family
UNUSED_TABLES = ["FFTM", "GDEF", "GSUB"]
# Latin, Greek, dashes and dots, arrows, mathematical signs. For any other character of a title the
# whole font stands behind.
CHARACTERS = (
    *range(0x20, 0x180),
    *range(0x370, 0x400),
    *range(0x2010, 0x2040),
    *range(0x2190, 0x219A),
    *range(0x2200, 0x2270),
)


def font_families() -> list[str]:
    """For matplotlib's `font.family`. The first call makes the font, in a third of a second."""
    _register_fonts()
    return [SUBSET_FAMILY, BASE_FAMILY]


@cache
def _register_fonts() -> None:
    """The files lie in a folder that lives until the program ends: matplotlib opens them again for
    every figure.
    """
    folder = tempfile.TemporaryDirectory(prefix="kdbatch-fonts-")
    atexit.register(folder.cleanup)
    for weight in ("normal", "bold"):
        path = Path(folder.name) / f"{weight}.ttf"
        _write_subset(findfont(FontProperties(family=BASE_FAMILY, weight=weight)), path)
        fontManager.addfont(path)


def _write_subset(source: str, path: Path) -> None:
    options = subset.Options(
        layout_features=["kern"], glyph_names=True, name_IDs=["*"], hinting=True
    )
    options.drop_tables += UNUSED_TABLES
    with subset.load_font(source, options) as font:
        subsetter = subset.Subsetter(options)
        subsetter.populate(unicodes=CHARACTERS)
        subsetter.subset(font)
        for entry in font["name"].names:
            if entry.nameID in FAMILY_NAME_IDS:
                entry.string = SUBSET_FAMILY.encode(entry.getEncoding())
        font.save(path)
