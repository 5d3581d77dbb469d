from dataclasses import replace

from support.studies import WriteStudy

from kdbatch.report.build import build_report
from kdbatch.report.html.citations import bibtex, link_to
from kdbatch.report.html.claims import interval_text
from kdbatch.report.stats.comparisons import Comparison
from kdbatch.vocab.plans.records import save_record


def page_of(make: WriteStudy, **fields) -> str:
    record, runs_dir = make()
    save_record(runs_dir, replace(record, **fields))
    summary = build_report(runs_dir, to=runs_dir.parent / "report")
    return summary.page.read_text(encoding="utf-8")


def test_an_own_study_has_its_question_and_no_claim_of_a_source(write_study: WriteStudy) -> None:
    page = page_of(write_study, question="Do <students> learn?")
    assert '<p class="question">Do &lt;students&gt; learn?</p>' in page
    assert "claim of the source" not in page and "the study" not in page.lower()


def test_the_sources_are_linked_and_cited(write_study: WriteStudy) -> None:
    page = page_of(write_study, sources=("arXiv:2306.06010", "a report <of> 1999"))
    assert '<a href="https://arxiv.org/abs/2306.06010">arXiv:2306.06010</a>' in page
    assert "a report &lt;of&gt; 1999" in page and "claim of the source" in page
    assert "Kumar, Akash" in page and "eprint = {2306.06010}" in page


def test_only_identifiers_become_links_and_unknown_ones_have_an_entry() -> None:
    assert link_to("doi:10.2307/4615733") == "https://doi.org/10.2307/4615733"
    assert link_to("javascript:alert(1)") == link_to('arXiv:1503.02531" onclick="x') == ""
    assert bibtex(["arXiv:1503.99999"]) == (
        "@misc{arXiv:1503.99999,\n  eprint = {1503.99999},\n  archiveprefix = {arXiv}\n}"
    )
    assert "note = {50\\% \\& more}" in bibtex(["50% & more"])


def test_equal_predictions_are_said_to_be_identical() -> None:
    same = Comparison(
        label="", effect=0.0, low=-6.0, high=6.0, num_videos=48, num_seeds=1, is_identical=True
    )
    assert interval_text(same, digits=1) == "identical on all 48 videos [\u22126.0, +6.0]"
