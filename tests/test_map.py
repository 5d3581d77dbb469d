"""The map of the modules in docs/ARCHITECTURE.md is that of the code."""

import ast
import re

import pytest
from support.module_map import DOCUMENT, ROOT, document_with_map

NAMES = re.findall(r"`([\w/]+\.py):(\w+)`", DOCUMENT.read_text(encoding="utf-8"))
GLOSSARY = (ROOT / "docs" / "GLOSSARY.md").read_text(encoding="utf-8")
NAMES += [
    (file, name)
    for names, file in re.findall(r"\| ((?:`\w+`, )+)`([\w/]+\.py)` \|$", GLOSSARY, re.MULTILINE)
    for name in re.findall(r"\w+", names)
]


def test_the_map_says_what_the_modules_say() -> None:
    assert DOCUMENT.read_text(encoding="utf-8") == document_with_map(), "outdated: make map"


@pytest.mark.parametrize(("file", "name"), sorted(set(NAMES)))
def test_every_name_of_page_and_glossary_is_defined_where_it_says(file: str, name: str) -> None:
    tree = ast.parse((ROOT / "kdbatch" / file).read_text(encoding="utf-8"))
    defined = {n.name for n in tree.body if isinstance(n, ast.FunctionDef | ast.ClassDef)}
    tables = (n.targets for n in tree.body if isinstance(n, ast.Assign))
    defined |= {target.id for row in tables for target in row if isinstance(target, ast.Name)}
    assert name in defined
