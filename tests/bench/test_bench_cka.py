import json

import numpy as np
import pytest
import torch
from support.networks import LoudNet, classifier, noise
from support.slow_cka import slow_cka

from kdbatch.base.errors import UserError
from kdbatch.base.progress import silent
from kdbatch.bench.cka.baselines import BASELINES, is_installed
from kdbatch.bench.cka.measure import OURS, bench_cka, cka_as_json, cka_as_lines
from kdbatch.bench.cka.parts import (
    Replay,
    capture_maps,
    choose_layers,
    forward_seconds,
    product_seconds,
    reference_map,
)
from kdbatch.bench.cka.scale import CkaScale
from kdbatch.run.cka.cka import compute_cka
from kdbatch.run.cka.gram_hooks import LayerCapture
from kdbatch.vocab.backbones import Backbone


def scale(layers: str, **changes: int) -> CkaScale:
    sizes = {"num_clips": 6, "num_frames": 4, "size_pixels": 16} | changes
    return CkaScale(backbone=Backbone(kind="r2plus1d_18", width=0.05), layers=layers, **sizes)


@pytest.mark.parametrize("offset", [0.0, 100.0])
def test_the_reference_is_the_definition(offset):
    model, clip_BCTHW = LoudNet(offset=offset), noise(8, size_pixels=10)
    found_LL = reference_map(model, clip_BCTHW, layers="act")
    np.testing.assert_allclose(
        found_LL, slow_cka([(model.maps(clip_BCTHW), model.maps(clip_BCTHW))]), rtol=0, atol=1e-10
    )


def test_chosen_layers_run_once_are_spread_evenly_and_are_in_call_order():
    model = classifier("shufflenet_2x").eval()
    names = choose_layers(model, noise(2), num_layers=24)
    with LayerCapture(model, layers=names) as capture:
        capture.grams(noise(4))
    assert len(set(names)) == 24
    assert capture.layers == tuple(
        name.removeprefix("backbone.") for name in names
    )  # a layer that runs twice would be name#1, name#2
    assert names[0] == "backbone.conv1.0"
    with pytest.raises(
        UserError, match="--layers: 500 are more than the 99 that run once. Write --layers=99"
    ):
        choose_layers(model, noise(2), num_layers=500)


def test_given_maps_make_the_map_that_the_network_makes():
    model, clip_BCTHW = classifier("r2plus1d_18").eval(), noise(8)
    names = choose_layers(model, clip_BCTHW, num_layers=6)
    replay = Replay(capture_maps(model, clip_BCTHW, names))
    ours = compute_cka(model, None, [clip_BCTHW], layers=names)
    given = compute_cka(replay, None, [clip_BCTHW], layers=replay.names)
    np.testing.assert_array_equal(ours.whole.value_LM, given.whole.value_LM)


@pytest.mark.parametrize("title", BASELINES)
def test_other_tools_mean_the_same_thing(title):
    """On features without large means, where their single-precision sums do no harm."""
    if not is_installed(title):
        pytest.skip(f"{title} is not installed")
    torch.manual_seed(3)
    shared_n1 = torch.randn(12, 1, 1, 1, 1)
    replay = Replay([shared_n1 + torch.randn(12, 4, 2, 3, 3) for _ in range(3)])
    clip_BCTHW = torch.zeros(12, 3, 1, 1, 1)
    found_LL = BASELINES[title](replay, clip_BCTHW, replay.names)
    np.testing.assert_allclose(
        found_LL, reference_map(replay, clip_BCTHW, layers=replay.names), atol=1e-4
    )


def test_parts_take_time_and_products_less_than_the_passes_that_hold_them():
    model, clip_BCTHW = classifier("r2plus1d_18").eval(), noise(6)
    assert forward_seconds(model, clip_BCTHW) > 0
    assert (
        product_seconds(model, clip_BCTHW, layers="act")
        > product_seconds(model, clip_BCTHW, layers=("fc",))
        > 0
    )


def test_a_number_of_layers_has_rows_for_all_tools_and_ours_is_exact():
    bench = bench_cka(scale("5"), progress=silent, repeats=2)
    rows = {row.title: row for row in bench.rows}
    assert list(rows) == [
        "forward passes",
        "Gram products",
        OURS,
        *(t for t in BASELINES if is_installed(t)),
    ]
    ours = rows[OURS]
    assert ours.difference is not None and ours.difference < 1e-6 and ours.num_nan == 0
    assert ours.to_ours == ours.given_to_ours == 1.0
    assert all(
        row.seconds > 0 and row.given_seconds and row.given_to_ours for row in bench.rows[2:]
    )
    assert bench.overhead > 1.0  # what holds the parts takes longer than they
    assert [row["title"] for row in json.loads(cka_as_json(bench))["rows"]] == list(rows)
    assert "5 layers, 6 clips of 4x16x16" in cka_as_lines(bench)[0]


def test_a_layer_set_is_measured_without_other_tools_with_a_note():
    bench = bench_cka(scale("res"), progress=silent, repeats=1)
    assert [row.title for row in bench.rows] == ["forward passes", "Gram products", OURS]
    assert "10 layers" in bench.setup
    assert "Type --layers=24" in cka_as_lines(bench)[-1]


@pytest.mark.parametrize(
    ("layers", "message"), [("acts", "--layers: found 'acts'"), ("2", "from 3 on")]
)
def test_a_mistake_is_reported_before_anything_is_measured(layers, message):
    with pytest.raises(UserError, match=message):
        scale(layers)
