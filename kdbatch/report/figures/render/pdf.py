"""Writes drawings as PDF (ISO 32000-1): one page, with vectors, text that stays text, no date.

matplotlib chooses and embeds glyphs for each file again, which was a sixth of a report's time; here
all files of a report embed the same one or two fonts.
"""

import math
import zlib
from collections.abc import Callable, Sequence
from typing import Any

from kdbatch.base.output.visible_text import visible
from kdbatch.report.figures.drawing import (
    Area,
    Drawing,
    InchBox,
    Label,
    Markers,
    Picture,
    Point,
    Strokes,
)
from kdbatch.report.figures.render.fonts import PLAIN, EmbeddedFont, embedded_font
from kdbatch.report.figures.render.shapes import (
    ALIGNMENTS,
    ANCHORS,
    MARKER_EDGE_POINTS,
    colour_indexes,
    outline,
    palette,
    points_of,
)

_FontKey = tuple[bool, bool]
"""Bold or not, and with the usual characters or with the other ones of the figure."""


def draw_pdf(drawing: Drawing) -> bytes:
    """Return the file of a figure."""
    page = _Page(drawing)
    for mark in drawing.marks:
        _WRITERS[type(mark)](page, mark)
    return page.file()


class _Page:
    """The page while it is written: its operators, and the objects that they use."""

    def __init__(self, drawing: Drawing) -> None:
        self.size = 72 * drawing.width, 72 * drawing.height
        self.operators: list[str] = []
        self.images: list[bytes] = []
        self.opacities: list[float] = []
        self.fonts: dict[_FontKey, EmbeddedFont] = {}
        texts = (visible(mark.text) for mark in drawing.marks if isinstance(mark, Label))
        self.foreign = frozenset().union(*(set(t) for t in texts if not PLAIN.issuperset(t)))

    def add(self, *parts: object) -> None:
        self.operators.append(" ".join(map(str, parts)))

    def path(self, places: Sequence[Point], *, is_closed: bool = False) -> None:
        numbers = [_pair(points_of(place)) for place in places]
        self.add(numbers[0], "m", *(f"{pair} l" for pair in numbers[1:]), "h" if is_closed else "")

    def clip(self, box: InchBox) -> None:
        self.add(*(_number(72 * length) for length in box), "re W n")

    def strokes(self, mark: Strokes) -> None:
        dashes = " ".join(_number(mark.width * part) for part in mark.dashes)
        self.add("q", _colour(mark.colour, "RG"), _number(mark.width), "w", f"[{dashes}] 0 d")
        self.add(0 if mark.dashes else 2, "J")
        if mark.clip:
            self.clip(mark.clip)
        for line in mark.lines:
            if line:
                self.path(line)
        self.add("S Q")

    def area(self, mark: Area) -> None:
        if mark.opacity not in self.opacities:
            self.opacities.append(mark.opacity)
        self.add(f"q /G{self.opacities.index(mark.opacity)} gs", _colour(mark.colour, "rg"))
        self.clip(mark.clip)
        self.path(mark.corners, is_closed=True)
        self.add("f Q")

    def markers(self, mark: Markers) -> None:
        edge = _colour(mark.edge or mark.colour, "RG")
        self.add("q", _colour(mark.colour, "rg"), edge, MARKER_EDGE_POINTS, "w")
        size = mark.size / 72
        for x, y in mark.at:
            corners = [(x + size * right, y + size * up) for right, up in outline(mark.shape)]
            self.path(corners, is_closed=True)
            self.add("B" if mark.edge else "f")
        self.add("Q")

    def picture(self, mark: Picture) -> None:
        """One sample for each entry: viewers enlarge it without blur."""
        index_LM = colour_indexes(mark)
        colours = palette(mark.colours).tobytes().hex()
        self.images.append(
            _stream(
                zlib.compress(index_LM.tobytes()),
                f"/Type /XObject /Subtype /Image /Width {index_LM.shape[1]} "
                f"/Height {index_LM.shape[0]} /BitsPerComponent 8 /Filter /FlateDecode "
                f"/ColorSpace [/Indexed /DeviceRGB {len(palette(mark.colours)) - 1} <{colours}>]",
            )
        )
        left, bottom, width, height = (_number(72 * length) for length in mark.box)
        self.add("q", width, 0, 0, height, left, bottom, f"cm /I{len(self.images) - 1} Do Q")

    def label(self, mark: Label) -> None:
        text = visible(mark.text)
        if not text.strip():
            return
        key = mark.is_bold, PLAIN.issuperset(text)
        if key not in self.fonts:
            letters = PLAIN if key[1] else self.foreign
            self.fonts[key] = embedded_font(is_bold=mark.is_bold, letters=letters)
        font = self.fonts[key]
        codes = "".join(f"{font.glyphs.get(letter, 0):04x}" for letter in text)
        right = -ALIGNMENTS[mark.align] * mark.points * font.width(text)
        up = -ANCHORS[mark.anchor] * mark.points
        x, y = points_of(mark.at)
        angle = math.radians(mark.degrees)
        cosine, sine = math.cos(angle), math.sin(angle)
        start = _pair((x + cosine * right - sine * up, y + sine * right + cosine * up))
        turn = f"{_pair((cosine, sine))} {_pair((-sine, cosine))}"
        self.add("BT", _colour(mark.colour, "rg"), f"/F{_name(key)} {_number(mark.points)} Tf")
        self.add(turn, start, f"Tm <{codes}> Tj ET")

    def file(self) -> bytes:
        """The objects of the file: catalogue, pages, page and its contents come first."""
        objects: list[bytes] = [b""] * 4
        fonts = "".join(
            f"/F{_name(key)} {_add_font(objects, font, is_bold=key[0])} 0 R "
            for key, font in self.fonts.items()
        )
        states = "".join(f"/G{i} << /ca {value} >> " for i, value in enumerate(self.opacities))
        first_image = len(objects) + 1
        objects += self.images
        images = "".join(f"/I{i} {first_image + i} 0 R " for i in range(len(self.images)))
        used = f"/Font << {fonts}>> /XObject << {images}>> /ExtGState << {states}>>"
        box = f"[0 0 {_pair(self.size)}]"
        page = f"/Parent 2 0 R /MediaBox {box} /Contents 4 0 R /Resources << {used} >>"
        objects[0] = b"<< /Type /Catalog /Pages 2 0 R >>"
        objects[1] = b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>"
        objects[2] = f"<< /Type /Page {page} >>".encode()
        contents = zlib.compress("\n".join(self.operators).encode())
        objects[3] = _stream(contents, "/Filter /FlateDecode")
        return _file(objects)


_WRITERS: dict[type, Callable[[_Page, Any], None]] = {
    Strokes: _Page.strokes,
    Area: _Page.area,
    Markers: _Page.markers,
    Picture: _Page.picture,
    Label: _Page.label,
}


def _add_font(objects: list[bytes], font: EmbeddedFont, *, is_bold: bool) -> int:
    """Add a font (9.7: composite, of glyphs of TrueType); return the number of its object."""
    name = "KDBATC+DejaVuSans" + ("-Bold" if is_bold else "")
    first = len(objects) + 1
    widths = " ".join(map(str, font.widths))
    metrics = "/Flags 4 /ItalicAngle 0 /Ascent 928 /Descent -236 /CapHeight 729 /StemV 80"
    file = f"/Filter /FlateDecode /Length1 {font.num_bytes}"
    objects += [
        f"<< /Type /Font /Subtype /Type0 /BaseFont /{name} /Encoding /Identity-H "
        f"/DescendantFonts [{first + 1} 0 R] /ToUnicode {first + 4} 0 R >>".encode(),
        f"<< /Type /Font /Subtype /CIDFontType2 /BaseFont /{name} /CIDToGIDMap /Identity "
        "/CIDSystemInfo << /Registry (Adobe) /Ordering (Identity) /Supplement 0 >> "
        f"/FontDescriptor {first + 2} 0 R /W [0 [{widths}]] >>".encode(),
        f"<< /Type /FontDescriptor /FontName /{name} /FontBBox [-1021 -463 1793 1232] "
        f"{metrics} /FontFile2 {first + 3} 0 R >>".encode(),
        _stream(font.content, file),
        _stream(zlib.compress(_characters(font).encode()), "/Filter /FlateDecode"),
    ]
    return first


def _characters(font: EmbeddedFont) -> str:
    """The characters of glyphs, by which a viewer finds and copies text (9.10.3)."""
    pairs = [
        f"<{glyph:04x}> <{letter.encode('utf-16be').hex()}>"
        for letter, glyph in sorted(font.glyphs.items())
    ]
    blocks = [pairs[i : i + 100] for i in range(0, len(pairs), 100)]
    maps = "\n".join(
        f"{len(block)} beginbfchar\n" + "\n".join(block) + "\nendbfchar" for block in blocks
    )
    return (
        "/CIDInit /ProcSet findresource begin 12 dict begin begincmap /CMapName /kdbatch def "
        "/CMapType 2 def 1 begincodespacerange <0000> <ffff> endcodespacerange\n"
        f"{maps}\nendcmap CMapName currentdict /CMap defineresource pop end end"
    )


def _stream(content: bytes, entries: str) -> bytes:
    head = f"<< {entries} /Length {len(content)} >>\nstream\n"
    return head.encode() + content + b"\nendstream"


def _file(objects: Sequence[bytes]) -> bytes:
    """The file with its table of the places of objects (7.5)."""
    content = bytearray(b"%PDF-1.5\n%\xe2\xe3\xcf\xd3\n")
    places = []
    for i, each in enumerate(objects):
        places.append(len(content))
        content += f"{i + 1} 0 obj\n".encode() + each + b"\nendobj\n"
    start, count = len(content), len(objects) + 1
    table = "".join(f"{place:010d} 00000 n \n" for place in places)
    content += f"xref\n0 {count}\n0000000000 65535 f \n{table}".encode()
    content += f"trailer\n<< /Size {count} /Root 1 0 R >>\nstartxref\n{start}\n%%EOF\n".encode()
    return bytes(content)


def _name(key: _FontKey) -> str:
    return f"{'B' if key[0] else 'R'}{'P' if key[1] else 'F'}"


def _colour(colour: str, operator: str) -> str:
    parts = (part / 255 for part in bytes.fromhex(colour[1:]))
    return " ".join(f"{part:.3g}" for part in parts) + f" {operator}"


def _pair(place: Point) -> str:
    return f"{_number(place[0])} {_number(place[1])}"


def _number(value: float) -> str:
    return f"{value:.3f}".rstrip("0").rstrip(".")
