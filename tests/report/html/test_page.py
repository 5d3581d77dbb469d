import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from support.studies import BuiltReport, MakeStudy

from kdbatch.report.build import build_report
from kdbatch.vocab.plans.records import save_record

VOID = {"meta", "img", "br", "line", "circle", "input"}


class Outline(HTMLParser):
    """Collects open elements, ids, links, and everything that a browser would fetch."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.fetched: list[str] = []
        self.scripts = 0
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        if "id" in values:
            self.ids.append(values["id"])
        if tag == "a":
            self.links.append(values["href"])
        if tag in ("link", "image"):
            self.fetched.append(values["href"])
        self.fetched += [values[name] for name in ("src", "srcset", "data") if name in values]
        self.scripts += tag == "script"
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag


def text_of(page: str) -> str:
    """Return the text of a page without markup, with single spaces."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page))


@pytest.fixture(params=["finished_report", "partial_report"])
def built(request: pytest.FixtureRequest) -> BuiltReport:
    return request.getfixturevalue(request.param)


def test_the_page_is_well_formed_and_fetches_nothing(built: BuiltReport) -> None:
    outline = Outline(built.page)
    assert outline.open == [] and outline.scripts == 3 and outline.fetched
    assert all(address.startswith("data:image/png;base64,") for address in outline.fetched)
    assert not re.search(r"@import|url\(|https?://", built.page)


def test_every_link_leads_somewhere(built: BuiltReport) -> None:
    outline = Outline(built.page)
    assert len(set(outline.ids)) == len(outline.ids)
    for link in outline.links:
        if link.startswith("#"):
            assert link[1:] in outline.ids
        else:
            assert (built.report_dir / link).is_file()


def test_text_from_data_is_not_markup(partial_report: BuiltReport) -> None:
    page = partial_report.page
    assert "<script>alert" not in page and "<i>at</i>" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp; sizes" in page
    assert "out of memory &lt;i&gt;at&lt;/i&gt; step 12" in page


def test_a_partial_study_shows_its_progress_the_failures_with_reasons_and_what_was_left_out(
    partial_report: BuiltReport,
) -> None:
    text = text_of(partial_report.page)
    assert "13 of 15 runs are done, 1 failed." in text
    assert re.search(r"Student ShuffleNet 30k, seed 0\s+failed\s+out of memory", text)
    assert re.search(r"Student ShuffleNet layers, seed 0\s+queued\s+waits to be started", text)
    assert "rows.parquet: cannot be read" in text and "kdbatch resume --retry-failed" in text


def test_a_finished_study_has_nothing_missing_and_shows_verdict_effect_and_interval(
    finished_report: BuiltReport,
) -> None:
    text = text_of(finished_report.page)
    claims, controls = "Of 4 claims, 4 rest on one seed.", "Of 1 control, 1 rests on one seed."
    gain = r"The student is above the best of its teachers by 20\.0 points \[\+1\d\.\d, \+2\d\.\d\]"
    assert re.search(f"On average over 2 cases the {gain[4:]}", text)
    assert "with one seed nothing is decided." in text
    assert f"{claims} {controls}" in text and "All 15 runs are done." in text
    assert "Missing results" not in text
    says, effect = r"The student is above both of its teachers\.", r"\+16\.0 points"
    assert re.search(rf"one seed {says} {effect} \[\+1\d\.\d, \+2\d\.\d\]", text)
    assert "400 test videos, 1 seed" in text


def test_the_page_shows_cost_and_provenance(finished_report: BuiltReport) -> None:
    text = text_of(finished_report.page)
    assert "pretrain 4 of 4 0.10 0.00 25 % 87 % 4" in text
    assert "all 15 of 15 0.38 0.00 25 % 87 % 15" in text
    # as of a version that recorded neither
    assert re.search("distill \\d+ of \\d+ 0.\\d+ 0.00 \u2013 \u2013 \\d", text)
    assert "PyTorch 2.15.0" in text and "Results up to 2027-01-15 08:00 UTC" in text


def test_claims_are_grouped_by_experiment_and_profile_and_a_profiles_note_is_shown_once(
    make_study: MakeStudy,
) -> None:
    record, study = make_study()
    micro = replace(record, profile="micro", note="Micro scale <proves> nothing.")
    save_record(study.runs_dir, micro)
    summary = build_report(study.runs_dir, to=study.runs_dir.parent / "report")
    page = summary.page.read_text(encoding="utf-8")
    (claims,) = re.findall(r'<section id="claims">.*?</section>', page, re.DOTALL)
    assert re.findall(r'scope="rowgroup">([^<]+)', claims) == [
        f"{record.title} (profile micro)",
        f"{record.title} (profile toy)",
    ]
    assert claims.count(">control<") == 2
    assert page.count("Micro scale &lt;proves&gt; nothing.") == 1
