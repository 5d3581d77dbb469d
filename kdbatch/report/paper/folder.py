"""Writes `paper/`: methods as LaTeX and Markdown, BibTeX, and a small article with all results."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from kdbatch.base.atomic_write import atomic_write, write_text
from kdbatch.report.html.citations import bibtex, citation_key
from kdbatch.report.html.sections import Chapter
from kdbatch.report.paper.methods import (
    cited_keys,
    methods_latex,
    methods_markdown,
    methods_sections,
)
from kdbatch.report.tables.formats import latex_comment

MAIN = r"""%% Compile in this folder: pdflatex main && bibtex main && pdflatex main && pdflatex main
\documentclass{article}
\usepackage[margin=2cm]{geometry}
\usepackage{booktabs,graphicx}
\begin{document}
\section{Methods}
\input{methods}
\section{Results}
%s
\bibliographystyle{plain}
\bibliography{references}
\end{document}
"""


def write_paper(to: Path, chapters: Sequence[Chapter]) -> None:
    """Write the folder `to`/paper, with copies of the tables and figures of `to`."""
    paper = to / "paper"
    sections = methods_sections(chapters)
    text = methods_latex(sections)
    sources = [source for chapter in chapters for source in chapter.record.sources]
    write_text(paper / "methods.tex", latex_comment(text) + text)
    write_text(paper / "methods.md", methods_markdown(sections))
    known = set(map(citation_key, sources))
    cited = [key for key in cited_keys(sections) if key not in known]
    write_text(paper / "references.bib", bibtex([*sources, *cited]) + "\n")
    lines = []
    for chapter in chapters:
        for name, _ in chapter.grids:
            _copy(to, paper, f"tables/{name}.tex")
            lines.append(f"\\input{{tables/{name}.tex}}")
        for figure in chapter.figures:
            _copy(to, paper, f"figures/{figure.name}.pdf")
            size = "width=\\linewidth,height=.8\\textheight,keepaspectratio"
            lines.append(f"\\noindent\\includegraphics[{size}]{{{{figures/{figure.name}}}.pdf}}")
    write_text(paper / "main.tex", MAIN % "\n\n".join(lines))


def _copy(to: Path, paper: Path, name: str) -> None:
    def copy(part: Path) -> None:
        shutil.copyfile(to / name, part)

    atomic_write(paper / name, copy)
