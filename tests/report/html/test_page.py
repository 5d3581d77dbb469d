import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from kdbatch.report.build import build_report
from kdbatch.vocab.plans import save_record

VOID = {"meta", "img", "br", "line", "circle"}


class Outline(HTMLParser):
    """Elements that are open, ids, links, and everything that a browser would fetch."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.fetched: list[str] = []
        self.scripts = 0
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.ids += [found["id"] or ""] if "id" in found else []
        self.links += [found["href"] or ""] if tag == "a" else []
        self.fetched += [
            found.get(name) or "" for name in ("src", "srcset", "data") if name in found
        ]
        self.fetched += [found["href"] or ""] if tag == "link" else []
        self.scripts += tag == "script"
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag


@pytest.mark.parametrize("name", ["one_seed", "partial"])
def test_the_page_is_whole_and_fetches_nothing(name: str, request: pytest.FixtureRequest) -> None:
    built = request.getfixturevalue(name)
    outline = Outline(built.page)
    assert outline.open == [] and outline.scripts == 1
    assert outline.fetched and all(
        address.startswith("data:image/png;base64,") for address in outline.fetched
    )
    assert not re.search(r"@import|url\(|https?://", built.page)


@pytest.mark.parametrize("name", ["one_seed", "partial"])
def test_every_link_leads_somewhere(name: str, request: pytest.FixtureRequest) -> None:
    built = request.getfixturevalue(name)
    outline = Outline(built.page)
    assert len(set(outline.ids)) == len(outline.ids)
    for link in outline.links:
        assert (
            link[1:] in outline.ids if link.startswith("#") else (built.report_dir / link).is_file()
        )


def test_what_comes_from_data_is_text_not_markup(partial) -> None:
    assert "<script>alert" not in partial.page and "<i>at</i>" not in partial.page
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp; sizes" in partial.page
    assert "out of memory &lt;i&gt;at&lt;/i&gt; step 12" in partial.page


def test_a_partial_study_says_how_far_it_is_what_failed_why_and_what_was_left_out(partial) -> None:
    text = re.sub(r"<[^>]+>", " ", partial.page)
    assert "What the study has found so far" in text and "13 of 15 runs are done, 1 failed." in text
    assert re.search(r"Student ShuffleNet 30k, seed 0\s+failed\s+out of memory", text)
    assert re.search(r"Student ShuffleNet layers, seed 0\s+queued\s+waits for its turn", text)
    assert "rows.parquet: cannot be read" in text and "kdbatch submit --retry-failed" in text


def test_a_finished_study_has_nothing_missing_and_shows_verdict_effect_and_interval(
    one_seed,
) -> None:
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", one_seed.page))
    assert (
        "All 15 runs are done. Of 4 claims, 3 hold, 1 is undecided. Of 1 control, 1 is undecided."
        in text
    )
    assert "What the study found" in text and "What is missing" not in text
    assert re.search(
        r"holds The student is above both of its teachers\. \+16\.0 points \[\+1\d\.\d, \+2\d\.\d\]",
        text,
    )
    assert "400 test videos, 1 seed" in text


def test_cost_and_origin_are_told(one_seed) -> None:
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", one_seed.page))
    assert "pretrain 4 of 4 0.10 4" in text and "all 15 of 15 0.38 15" in text
    assert "PyTorch 2.15.0" in text and "results up to 2027-01-15 08:00 UTC" in text


def test_claims_of_two_profiles_stand_below_their_own_titles_and_a_scale_says_what_it_cannot_tell(
    studied,
) -> None:
    record, study = studied()
    save_record(
        study.runs_dir, replace(record, profile="micro", note="Micro scale <tells> nothing.")
    )
    build_report(study.runs_dir, to=study.runs_dir.parent / "report")
    page = (study.runs_dir.parent / "report" / "index.html").read_text()
    title = record.title
    glance = page[page.index('id="claims"') : page.index("</section>", page.index('id="claims"'))]
    assert re.findall(r'scope="rowgroup">([^<]+)', glance) == [
        f"{title} (profile micro)",
        f"{title} (profile toy)",
    ]
    assert (
        glance.count("our control") == 2 and page.count("Micro scale &lt;tells&gt; nothing.") == 1
    )
