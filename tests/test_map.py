"""The map of the modules in docs/ARCHITECTURE.md is that of the code."""

from support.module_map import DOCUMENT, document_with_map


def test_the_map_says_what_the_modules_say() -> None:
    assert DOCUMENT.read_text(encoding="utf-8") == document_with_map(), "write it anew: make map"
