"""The table of all runs, and the dialog of the runs behind a number, in a browser."""

import json
import re
from pathlib import Path
from statistics import median

import pytest
from support.browser import observe
from support.reports import find_run_id
from support.studies import BuiltReport

from kdbatch.report.html.runs import runs_html, script_json

TABLE_PROBE = """
  const section = document.getElementById("runs");
  const rows = () => [...section.querySelectorAll("tbody tr")];
  const set = (selector, value) => {
    const control = section.querySelector(selector);
    control.value = value;
    control.dispatchEvent(new Event("input"));
    return [rows().length, section.querySelector("output").textContent];
  };
  const results = () => rows().map(row => parseFloat(row.cells[5].textContent));
  const seen = {all: rows().length, before: window.errors.slice()};
  seen.kind = set("select[data-by=kind]", "distill");
  seen.search = set("input", "student 10k");
  seen.nothing = set("input", "no such run");
  set("input", "");
  const head = section.querySelector("th[data-by=value]");
  head.querySelector("button").click();
  [seen.falling, seen.fallingSort] = [results(), head.getAttribute("aria-sort")];
  head.querySelector("button").click();
  [seen.rising, seen.risingSort] = [results(), head.getAttribute("aria-sort")];
  const controls = section.querySelectorAll("th button, td button, input, select");
  seen.focusable = [...controls].every(each => each.tabIndex === 0);
  seen.labelled = [...section.querySelectorAll("input, select")].every(each => each.labels.length);
  seen.live = section.querySelector("output").getAttribute("aria-live");
  return {...seen, errors: window.errors};
"""
DIALOG_PROBE = """
  const dialog = document.querySelector("dialog");
  const texts = selector => [...dialog.querySelectorAll(selector)].map(e => e.textContent);
  const opener = document.querySelector(".key-table tr td:nth-child(5) button.number");
  opener.focus();
  opener.click();
  const seen = {open: dialog.open, inside: dialog.contains(document.activeElement)};
  seen.name = document.getElementById(dialog.getAttribute("aria-labelledby")).textContent;
  const rows = table => [...dialog.querySelectorAll("table")[table].tBodies[0].rows];
  const column = (table, i) => rows(table).map(row => row.cells[i].textContent);
  [seen.ids, seen.differs] = [column(0, 1), column(1, 0)];
  dialog.querySelector(".close").click();
  seen.closed = !dialog.open && document.activeElement === opener;
  const find = title => [...document.querySelectorAll("#runs tbody button")]
    .find(button => button.textContent === title);
  find("Student ShuffleNet 30k, seed 0").click();
  seen.facts = texts("dd");
  seen.recipe = texts("details td");
  seen.tree = [...dialog.querySelectorAll(".tree > li > ul > li > ul > li")].length;
  seen.curves = texts("figcaption");
  seen.points = dialog.querySelector("polyline").getAttribute("points").split(" ").length;
  seen.text = dialog.textContent;
  seen.wide = dialog.scrollWidth - dialog.clientWidth;
  const luminance = colour => {
    const [r, g, b] = colour.match(/[\\d.]+/g).map(v => v / 255)
      .map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const paper = element => {
    const colour = getComputedStyle(element).backgroundColor;
    return colour === "rgba(0, 0, 0, 0)" ? paper(element.parentElement) : colour;
  };
  seen.contrast = Math.min(...[...document.querySelectorAll(
    "dialog *:not(:has(*)), #runs *:not(:has(*)), .key-table button")]
    .filter(each => each.textContent.trim()).map(each => {
      const pair = [getComputedStyle(each).color, paper(each)].map(luminance).sort();
      return (pair[1] + 0.05) / (pair[0] + 0.05);
    }));
  return {...seen, errors: window.errors};
"""

# Each act is followed by a layout, and done with other words each time, so that its rows are new.
# It takes turns with the same work: a neighbour of the browser makes both slower.
SPEED_PROBE = """
  const section = document.getElementById("runs");
  const seconds = act => {
    const start = performance.now();
    act();
    section.offsetHeight;
    return performance.now() - start;
  };
  const board = document.body.appendChild(document.createElement("div"));
  const row = `<tr>${"<td>a cell</td>".repeat(10)}</tr>`;
  const work = () => {
    board.innerHTML = `<table>${row.repeat(40)}</table>`;
    board.offsetHeight;
    board.replaceChildren();
  };
  const set = (control, value) => {
    control.value = value;
    control.dispatchEvent(new Event("input"));
  };
  const [kinds, search] = [section.querySelector("select"), section.querySelector("input")];
  const heads = [...section.querySelectorAll("th[data-by] button")];
  const acts = {
    work, filter: k => set(kinds, kinds.options[k % 4 + 1].value),
    search: k => set(search, `copy ${k % 9 + 1}`), sort: k => heads[k].click(),
  };
  const spent = {};
  for (let k = 0; k < heads.length; k++) {
    for (const [name, act] of Object.entries(acts)) {
      (spent[name] ??= []).push(seconds(() => act(k)));
    }
  }
  set(kinds, "");
  set(search, "");
  return {spent, shown: section.querySelector("output").textContent, errors: window.errors};
"""
NUM_RUNS, MOST_WORK = 5000, 4.0  # times the work; 1.1 to 2.3


def test_the_table_of_runs_is_filtered_searched_and_sorted(
    chromium: str, finished_report: BuiltReport, tmp_path: Path
) -> None:
    seen = observe(chromium, finished_report.summary.page, TABLE_PROBE, tmp_path / "c")
    assert seen["errors"] == []
    assert seen["all"] == finished_report.summary.total
    assert seen["kind"] == [4, "4 of 4 runs shown"]
    assert seen["search"] == [1, "1 of 1 runs shown"]
    assert seen["nothing"] == [0, "0 of 0 runs shown"]
    assert seen["falling"] == [88, 76, 76, 76] and seen["fallingSort"] == "descending"
    assert seen["rising"] == [76, 76, 76, 88] and seen["risingSort"] == "ascending"
    assert seen["focusable"] and seen["labelled"] and seen["live"] == "polite"


def test_a_number_opens_its_runs_with_recipes_parents_curves_classes_and_commands(
    chromium: str, finished_report: BuiltReport, tmp_path: Path
) -> None:
    page, record = finished_report.summary.page, finished_report.record
    for scheme in ("0", "1"):
        flags = f"--blink-settings=preferredColorScheme={scheme}", "--window-size=500,900"
        seen = observe(chromium, page, DIALOG_PROBE, tmp_path / scheme, *flags)
        assert seen["errors"] == [] and seen["wide"] <= 0
        assert seen["contrast"] >= 4.5
    assert seen["open"] and seen["inside"] and seen["closed"]
    assert seen["name"] == f"{len(seen['ids'])} runs"
    assert find_run_id(record, "student", "10k") in seen["ids"]
    assert find_run_id(record, "T2", "10k") in seen["ids"]
    assert {"kind", "weighting"} <= set(seen["differs"])
    assert "view.num_frames" not in seen["differs"]
    student = find_run_id(record, "student", "30k")
    assert student in seen["facts"] and "88.0 [84.4, 90.8]" in seen["facts"]
    assert "schedule.epochs" in seen["recipe"]
    assert seen["tree"] == 2  # the pretraining of each teacher
    assert seen["curves"] == ["accuracy: 0.264 to 0.7321, up to step 50"] and seen["points"] == 5
    assert "Most frequent confusions" in seen["text"] and "Accuracy by class" in seen["text"]
    assert f"runs/{student}" in seen["text"] and f"kdbatch logs {student}" in seen["text"]


@pytest.mark.slow
def test_a_filter_a_search_and_a_sort_of_five_thousand_runs_wait_for_no_row_that_is_not_shown(
    chromium: str, three_seed_report: BuiltReport, tmp_path: Path
) -> None:
    page = tmp_path / "page.html"
    page.write_text(with_copies(three_seed_report.page), encoding="utf-8")
    seen = observe(chromium, page, SPEED_PROBE, tmp_path / "c")
    assert seen["errors"] == [] and seen["shown"].endswith(f" of {NUM_RUNS} runs shown")
    medians = {name: median(values) for name, values in seen["spent"].items()}
    unit = medians.pop("work")
    assert all(value < MOST_WORK * unit for value in medians.values()), (unit, medians)


def with_copies(page: str) -> str:
    """The page with copies of its runs, until they are NUM_RUNS."""
    found = re.search(r'id="run-data">(.*?)</script>', page, re.DOTALL)
    assert found
    data = json.loads(found[1])
    copies = []
    for i in range(NUM_RUNS):
        run = data["runs"][i % len(data["runs"])]
        copies.append({**run, "id": f"{run['id']}{i}", "title": f"{run['title']} copy {i}"})
    many = {**data, "runs": copies}
    for write in (runs_html, script_json):
        assert page.count(write(data)) == 1
        page = page.replace(write(data), write(many))
    return page
