"""Figures in a browser: colours of the scheme, text, width, and the values under the pointer."""

import re
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from support.browser import observe
from support.reports import MAPS, ROLES
from support.studies import BuiltReport

DARK = "--blink-settings=preferredColorScheme=0"
PROBE = """
  const move = (target, x, y) => target.dispatchEvent(
    new PointerEvent("pointermove", {clientX: x, clientY: y, bubbles: true}));
  const tip = document.querySelector(".tip");
  const image = document.querySelector("image[data-values]");
  image.scrollIntoView();
  const map = image.getBoundingClientRect();
  const size = JSON.parse(image.dataset.rows).length;
  move(image, map.left + map.width * 2.5 / size, map.top + map.height * 1.5 / size);
  const cell = tip.textContent;
  image.dispatchEvent(new KeyboardEvent("keydown", {key: "ArrowLeft"}));
  const left = tip.textContent;
  const curve = document.querySelector("path[data-curve]");
  const svg = curve.ownerSVGElement.ownerSVGElement;
  svg.scrollIntoView();
  const panel = svg.getBoundingClientRect();
  move(svg, panel.right - 2, panel.top + panel.height / 2);
  const curves = tip.textContent;
  const slider = [...document.querySelectorAll(".smoothing input")].at(-1);
  const long = slider.closest("figure").querySelector("path[data-curve]");
  const drawn = () => [...long.parentElement.querySelectorAll("path")]
    .map(path => [path.getAttribute("d"), Number(getComputedStyle(path).opacity)]);
  const slide = value => {
    slider.value = value;
    slider.dispatchEvent(new Event("input"));
    return drawn();
  };
  const [raw, smooth, back] = [drawn(), slide(2), slide(0)];
  const choices = [...document.querySelectorAll(".choice select")];
  const shown = choices.map(select => [...select.options].map((option, i) => {
    select.selectedIndex = i;
    select.dispatchEvent(new Event("input"));
    const views = [...select.closest(".views").querySelectorAll(".view")];
    return [option.textContent, views.filter(view => view.getClientRects().length)
      .map(view => view.querySelector("h4").textContent)];
  }));
  for (const select of choices) {
    select.selectedIndex = 0;
    select.dispatchEvent(new Event("input"));
  }
  const texts = [...document.querySelectorAll("figure svg text")];
  const paper = getComputedStyle(document.body).backgroundColor;
  const width = document.documentElement.clientWidth;
  return {
    errors: window.errors, cell, left, curves, paper, raw, smooth, back, shown,
    text: texts.map(text => text.textContent),
    inks: [...new Set(texts.map(text => getComputedStyle(text).fill))],
    family: getComputedStyle(texts[0]).fontFamily,
    wide: [...document.querySelectorAll("figure svg, nav")]
      .filter(e => e.getBoundingClientRect().right > width + 1).length,
    beside: getComputedStyle(document.querySelector("nav.contents")).display,
  };
"""


@pytest.fixture(scope="module")
def seen(
    chromium: str, finished_report: BuiltReport, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("figures")
    page = finished_report.summary.page
    dark = observe(chromium, page, PROBE, folder / "dark", "--window-size=500,900", DARK)
    return observe(chromium, page, PROBE, folder / "light", "--window-size=1400,900") | {
        "dark": dark
    }


def contrast(first: str, second: str) -> float:
    """The ratio of WCAG 2.2 for two colours `rgb(...)`."""
    lights = []
    for colour in (first, second):
        parts = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
        linear = [x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4 for x in parts]
        lights.append(0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2])
    return (max(lights) + 0.05) / (min(lights) + 0.05)


def test_text_of_figures_is_text_in_the_pages_font_and_colours(seen: dict[str, Any]) -> None:
    assert seen["errors"] == seen["dark"]["errors"] == []
    assert {MAPS[0].title, ROLES["student"], "optimizer step"} <= set(seen["text"])
    assert "system-ui" in seen["family"]
    for view in (seen, seen["dark"]):
        readable = [ink for ink in view["inks"] if contrast(ink, view["paper"]) >= 4.5]
        assert len(readable) >= 1
    assert set(seen["inks"]) != set(seen["dark"]["inks"])


def test_no_figure_is_cut_and_the_contents_stand_beside_a_wide_page(seen: dict[str, Any]) -> None:
    assert seen["wide"] == seen["dark"]["wide"] == 0
    assert (seen["beside"], seen["dark"]["beside"]) == ("block", "none")


def test_the_pointer_and_the_arrow_keys_show_the_values_of_the_data(
    seen: dict[str, Any], finished_report: BuiltReport, tmp_path: Path
) -> None:
    runs = finished_report.summary.page.parents[1] / "runs"
    maps = [pl.read_parquet(path) for path in runs.glob("*/cka.parquet")]
    for text, column in ((seen["cell"], 2), (seen["left"], 1)):
        layer_a, layer_b, shown = text.split("\n")
        values = []
        for cka in maps:
            at = cka.filter(pl.col("index_a") == 1, pl.col("index_b") == column)
            assert at["layer_a"].item() == layer_a and at["layer_b"].item() == layer_b
            values.append(f"{at['value'].item():.2f}")
        assert shown in values
    step, *lines = seen["curves"].split("\n")
    curves = pl.concat([pl.read_parquet(path) for path in runs.glob("*/curves.parquet")])
    last = curves.filter(pl.col("name") == "accuracy", pl.col("step") == int(step.split()[1]))
    known = (100 * last["value"]).to_list()
    assert len(lines) >= 3
    for line in lines:
        assert min(abs(float(line.rsplit(" ", 1)[1]) - value) for value in known) < 0.11


def points(path: str) -> list[tuple[float, float]]:
    pairs = (pair.split(" ") for pair in path.removeprefix("M").split("L"))
    return [(float(x), float(y)) for x, y in pairs]


def test_smoothing_averages_near_points_above_a_faint_line_of_what_was_measured(
    seen: dict[str, Any],
) -> None:
    ((raw, opaque),) = seen["raw"]
    (below, faint), (smooth, _) = seen["smooth"]
    assert below == raw and 0 < faint < opaque == 1
    measured = points(raw)
    assert len(measured) == 12
    for i, (x, y) in enumerate(points(smooth)):
        near = [value for at, (_, value) in enumerate(measured) if abs(at - i) <= 2]
        assert (x, y) == (measured[i][0], pytest.approx(sum(near) / len(near)))
    assert points(seen["back"][0][0]) == measured and len(seen["back"]) == 1


def test_one_view_of_maps_and_one_kind_of_curve_is_shown_by_choice(seen: dict[str, Any]) -> None:
    maps, curves = ([option for option, _ in choices] for choices in seen["shown"])
    assert maps == ["CKA", "Differences of CKA", "RSA", "Differences of RSA"]
    assert curves[-1] == "Loss during pretraining"
    for option, visible in (pair for choices in seen["shown"] for pair in choices):
        assert visible == [option]
