"""The page on paper, as Chromium prints it."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from support.browser import FLAGS, observe_in_frames
from support.studies import BuiltReport

PAPER_PIXELS = 718  # A4 within the margins that browsers leave
HEADER = ["Run", "Id", "Kind", "State", "Seed", "Result"]


def test_nothing_is_wider_than_the_paper_which_would_shrink_or_cut_all_pages(
    chromium: str, three_seed_report: BuiltReport, tmp_path: Path
) -> None:
    printed = tmp_path / "printed.html"
    rules = three_seed_report.page.replace("@media screen", "@media (width < 0)")
    printed.write_text(rules.replace("@media print", "@media all"), encoding="utf-8")
    probe = """
      const {scrollWidth, clientWidth} = document.documentElement;
      const form = document.querySelector("form[role=search]");
      return [scrollWidth - clientWidth, getComputedStyle(form).display];
    """
    seen = observe_in_frames(chromium, printed, probe, tmp_path / "c", [(PAPER_PIXELS, "light")])
    assert seen["718 light"] == [0, "none"]


@pytest.fixture(scope="module")
def printed_pages(
    chromium: str, three_seed_report: BuiltReport, tmp_path_factory: pytest.TempPathFactory
) -> list[str]:
    """The text of each page of paper."""
    if shutil.which("pdftotext") is None:
        pytest.skip("no pdftotext on PATH")
    folder = tmp_path_factory.mktemp("printed")
    pdf, profile = folder / "page.pdf", f"--user-data-dir={folder / 'profile'}"
    flags = [flag for flag in FLAGS if flag != "--dump-dom"]
    flags += [profile, "--no-pdf-header-footer", f"--print-to-pdf={pdf}"]
    address = three_seed_report.summary.page.as_uri()
    subprocess.run([chromium, *flags, address], capture_output=True, check=True, timeout=300)
    done = subprocess.run(["pdftotext", "-layout", pdf, "-"], capture_output=True, check=True)
    return [page for page in done.stdout.decode().split("\f") if page.strip()]


def test_each_page_of_the_runs_starts_with_their_header_and_the_footer_stands_below_some(
    printed_pages: list[str],
) -> None:
    runs = [page for page in printed_pages if "finetune done" in " ".join(page.split())]
    assert len(runs) >= 2 and runs[-1] == printed_pages[-1]
    assert all([word for word in page.split() if word in HEADER][:6] == HEADER for page in runs)
    assert "How a claim is checked" in str(printed_pages) and "Copy as" not in str(printed_pages)


def test_no_page_of_paper_ends_with_a_heading(
    printed_pages: list[str], three_seed_report: BuiltReport
) -> None:
    headings = set(re.findall(r"<(?:h[234]|summary)[^>]*>([^<]+)<", three_seed_report.page))
    last = {page.strip().splitlines()[-1].strip() for page in printed_pages}
    assert len(headings) > 20 and not last & headings
