"""pdfLaTeX for tests; they are skipped without it, unless KDBATCH_REQUIRE_LATEX=1."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def pdflatex() -> str:
    if shutil.which("pdftotext") and (found := shutil.which("pdflatex")):
        return found
    if os.environ.get("KDBATCH_REQUIRE_LATEX") == "1":
        pytest.fail(
            "KDBATCH_REQUIRE_LATEX=1, but there is no pdflatex or no pdftotext on PATH. Install "
            "them, for example: apt-get install texlive-latex-recommended poppler-utils"
        )
    pytest.skip("no pdflatex or no pdftotext on PATH")


def compile_latex(pdflatex: str, path: Path) -> str:
    """Make the PDF of a document and return its text."""
    flags = ["-halt-on-error", "-interaction=nonstopmode", "-no-shell-escape"]
    command = [pdflatex, *flags, path.name]
    done = subprocess.run(command, cwd=path.parent, capture_output=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout.decode(errors="replace")[-2000:]
    command = ["pdftotext", "-raw", path.with_suffix(".pdf").name, "-"]
    return subprocess.run(command, cwd=path.parent, capture_output=True, check=True).stdout.decode()
