"""Writes out the characters that a terminal would obey instead of printing them.

Titles, file names, logs and error messages come from outside. An escape sequence among them could
move the cursor, and a mark of direction could reorder a line.
"""

import re

# Control characters but for the tab, marks of direction and of the end of a line, invisible
# characters, and halves of surrogate pairs, which stand for bytes that are not UTF-8.
_UNSAFE = re.compile(
    "[\x00-\x08\x0a-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)
_SHORT = {"\n": r"\n", "\r": r"\r"}


def visible(text: str) -> str:
    """The text as one line that is safe to print: ESC is `\\x1b`, a line feed is `\\n`.

    A byte of a file name that is not UTF-8 is `\\xff`, as in Python and in a shell's `$'...'`.
    """
    return _UNSAFE.sub(lambda match: _written_out(match[0]), text)


def _written_out(character: str) -> str:
    if character in _SHORT:
        return _SHORT[character]
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # PEP 383: an undecodable byte of a file name
        code -= 0xDC00
        return f"\\x{code:02x}"
    if code < 0x80:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
