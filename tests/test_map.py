"""The map of the modules in docs/ARCHITECTURE.md is that of the code."""

import ast
import re

import pytest
from support.module_map import DOCUMENT, ROOT, document_with_map

NAMES = re.findall(r"`([\w/]+\.py):(\w+)`", DOCUMENT.read_text(encoding="utf-8"))


def test_the_map_says_what_the_modules_say() -> None:
    assert DOCUMENT.read_text(encoding="utf-8") == document_with_map(), "write it anew: make map"


@pytest.mark.parametrize(("file", "name"), sorted(set(NAMES)))
def test_every_name_of_the_page_is_defined_where_it_says(file: str, name: str) -> None:
    tree = ast.parse((ROOT / "kdbatch" / file).read_text(encoding="utf-8"))
    defined = (node for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef))
    assert name in {node.name for node in defined}
