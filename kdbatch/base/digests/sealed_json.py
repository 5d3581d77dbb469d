"""The seal of the JSON files that kdbatch writes and reads: a digest, by which damage is noticed.

    {
     "kdbatch_format": 1,
     ...
     "kdbatch_sha256": "<sha256 of all bytes before the comma that ends the line above>"
    }

Files of version 0.2 and older, and other people's, have neither key and are read as they are. A
file that has one of the keys must have both: so a changed or deleted key is damage, too.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

_FORMAT, _DIGEST = "kdbatch_format", "kdbatch_sha256"
_HEAD = f'{{\n "{_FORMAT}": 1'.encode()
_TAIL = re.compile(rb',\n "%s": "([0-9a-f]{64})"\n}\n' % _DIGEST.encode())
_TAIL_BYTES = len(f',\n "{_DIGEST}": ""\n}}\n') + 64


class BrokenSealError(ValueError):
    """The file is not, byte for byte, what kdbatch wrote."""


def json_text(value: Any) -> str:
    """Indented JSON; keys keep their order, which has a meaning."""
    return json.dumps(value, indent=1, ensure_ascii=False) + "\n"


def sealed_text(value: Mapping[str, Any]) -> str:
    """JSON of `value` with a seal."""
    text = json_text({_FORMAT: 1, **value}).removesuffix("\n}\n")
    return f'{text},\n "{_DIGEST}": "{hashlib.sha256(text.encode()).hexdigest()}"\n}}\n'


def check_seal(raw: bytes) -> bool:
    """Compare the digest of a JSON file with its text; returns whether it has one.

    Raises:
        BrokenSealError: it has a seal that does not belong to the rest of it.
    """
    tail = _TAIL.fullmatch(raw[-_TAIL_BYTES:])
    is_whole = tail and hashlib.sha256(raw[:-_TAIL_BYTES]).hexdigest().encode() == tail[1]
    if (tail or raw.startswith(_HEAD)) and not is_whole:
        raise BrokenSealError
    return bool(is_whole)


def without_seal(value: Any, *, is_sealed: bool) -> Any:
    """The value of a JSON file without the keys of its seal, which are taken out of it.

    Raises:
        BrokenSealError: it has such a key and no seal: another program wrote it again.
    """
    if isinstance(value, dict):
        marks = [value.pop(name, None) for name in (_FORMAT, _DIGEST)]
        if any(marks) and not (is_sealed and all(marks)):
            raise BrokenSealError
    return value
