"""Citations of papers, from `data/references.bib`, and links to them."""

import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from kdbatch.report.escape import escape_latex

BIB_PATH = Path(__file__).parents[1] / "data" / "references.bib"
_ARXIV = re.compile(r"arXiv:(\d{4}\.\d{4,5}(?:v\d+)?)")
_DOI = re.compile(r"doi:(10\.\d{4,9}/[\w.()/:;-]+)", re.ASCII)


def link_to(source: str) -> str:
    """Return the address of `arXiv:...` or `doi:...`; empty for another text."""
    if found := _ARXIV.fullmatch(source):
        return f"https://arxiv.org/abs/{found[1]}"
    if found := _DOI.fullmatch(source):
        return f"https://doi.org/{found[1]}"
    return ""


def bibtex(keys: Iterable[str]) -> str:
    """Return an entry for each source, each once; one that is not known has what its name tells."""
    return "\n\n".join(_entries().get(key) or _entry(key) for key in dict.fromkeys(keys))


def citation_key(source: str) -> str:
    """Return the key of a source in its entry."""
    return re.sub(r"[^A-Za-z0-9:./-]+", "-", source)


@cache
def _entries() -> dict[str, str]:
    """The known entries by key."""
    parts = BIB_PATH.read_text(encoding="utf-8").strip().split("\n\n")
    return {part.partition("{")[2].partition(",")[0]: part for part in parts}


def _entry(source: str) -> str:
    field = f"note = {{{escape_latex(source)}}}"
    if found := _ARXIV.fullmatch(source):
        field = f"eprint = {{{found[1]}}},\n  archiveprefix = {{arXiv}}"
    elif found := _DOI.fullmatch(source):
        field = f"doi = {{{found[1]}}}"
    return f"@misc{{{citation_key(source)},\n  {field}\n}}"
