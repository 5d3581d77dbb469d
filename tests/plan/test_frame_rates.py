"""Videos of too few frames per second for a task that judges speed are reported when planning."""

from collections.abc import Callable
from pathlib import Path

import pytest
from support.inputs import JOBS

from kdbatch.base.atomic_write import load_json, write_json
from kdbatch.base.errors import UserError
from kdbatch.plan.resolve import make_plan
from kdbatch.vocab.config import Config
from kdbatch.vocab.plans.plan import Plan
from kdbatch.vocab.recipes.pretrain import Pretrain
from kdbatch.vocab.views import ClipRates

RSPNET = JOBS / "subset_size.yaml"
TWO_SOURCES = JOBS / "out_of_distribution.yaml"


@pytest.fixture
def with_rates(sharded: Callable[..., Config], in_tmp: Path) -> Callable[..., Config]:
    """Writes indexes whose shards have these numbers of videos by frames per second."""

    def write(lengths: tuple[float, ...] = (), **rates: dict[str, int]) -> Config:
        config = sharded(k400=100_000, ssv2=30_000, ucf101=13_320, hmdb51=6766)
        for dataset, counts in rates.items():
            path = in_tmp / "shards" / dataset / "index.json"
            index = load_json(path)
            for part in index["parts"].values():
                for line in part["shards"]:
                    line["rates"], line["lengths_seconds"] = counts, lengths
            write_json(path, index)
        return config

    return write


def _plan(config: Config, *files: Path, profile: str = "h200") -> Plan:
    return make_plan(files or (RSPNET,), profile=profile, config=config)


def _least_fps(plan: Plan) -> set[float]:
    return {p.run.recipe.least_fps for p in plan.runs if isinstance(p.run.recipe, Pretrain)}


def _rates(plan: Plan, start: str) -> ClipRates:
    (found,) = {r for record in plan.records for r in record.rates if r.subset.startswith(start)}
    return found


def test_where_every_video_is_fast_enough_the_runs_are_those_of_old(with_rates) -> None:
    usual = {p.run.id for p in _plan(with_rates()).runs}
    for counts in ({"25": 1000}, {"25": 400, "29.97": 600}, {"23.976": 1000}):
        plan = _plan(with_rates(k400=counts))
        assert {p.run.id for p in plan.runs} == usual
        assert _least_fps(plan) == {0.0}


@pytest.mark.parametrize("profile", ["paper", "h200", "micro"])
def test_the_shipped_experiments_take_every_usual_rate_and_share_their_runs(
    with_rates, profile: str
) -> None:
    usual = {"23.976": 150, "24": 100, "25": 150, "29.97": 500, "30": 50, "12": 50}
    config = with_rates(k400=usual, ssv2={"12": 1000}, ucf101={"25": 1000}, hmdb51={"30": 1000})
    files = sorted(JOBS.glob("*.yaml"))
    plan = _plan(config, *files, profile=profile)
    assert _least_fps(plan) == {0.0, 0.998 * 24.0}  # of other tasks, and of those that judge speed
    rates = [rate for record in plan.records for rate in record.rates]
    assert {rate.fps for rate in rates} == {12.0, 24.0}
    assert max(rate.num_too_slow for rate in rates) > 0
    by_itself = sum(len(_plan(config, path, profile=profile).runs) for path in files)
    assert len(plan.runs) < by_itself


def test_a_tenth_may_be_too_slow_and_other_runs_leave_them_out(with_rates) -> None:
    usual = {p.run.id: p for p in _plan(with_rates()).runs}
    plan = _plan(with_rates(k400={"15": 100, "25": 900}))
    assert _least_fps(plan) == {0.998 * 24.0}
    changed = [p for p in plan.runs if p.run.id not in usual]
    assert {p.run.recipe.kind for p in changed if not p.run.parents} == {"pretrain"}
    # labels only have no parents, and stay
    assert any(p.run.recipe.kind == "distill" and p.run.id in usual for p in plan.runs)
    rates = _rates(plan, "k400/train[:10000]")
    assert (rates.num_too_slow, rates.least_video_fps, rates.repeated_share) == (1000, 15.0, 0.0)


def test_more_than_a_tenth_are_refused_with_what_to_write_instead(with_rates) -> None:
    with pytest.raises(UserError) as caught:
        _plan(with_rates(k400={"12.5": 50, "15": 60, "29.97": 890}))
    message = str(caught.value)
    assert message.startswith(
        f"{RSPNET}: T1.pretrain: RSPNet at complexity 1 cuts clips of 24 frames per second, and "
        "11% of k400/train[:10000] has fewer, down to 12.5: "
    )
    assert "Write timeline: {fps: 15} in the experiment, or" in message
    assert "\n" not in message


def test_what_the_message_writes_is_enough(with_rates, in_tmp: Path) -> None:
    config = with_rates(k400={"12.5": 50, "15": 60, "29.97": 890})
    path = in_tmp / RSPNET.name
    text = RSPNET.read_text()
    path.write_text(text.replace("\nvary:", "\ntimeline: {fps: 15}\nvary:"))
    assert _least_fps(_plan(config, path)) == {0.998 * 15.0}


def test_two_sources_on_the_faster_ones_timeline_are_refused_before_they_are_stored(
    sharded, in_tmp: Path
) -> None:
    path = in_tmp / TWO_SOURCES.name
    path.write_text(TWO_SOURCES.read_text().replace("fps: 12.0,", "fps: 25.0,"))
    every = "every video of ssv2/train.:30000. has fewer, down to 12: .*timeline: {fps: 12}"
    with pytest.raises(UserError, match=every):
        _plan(sharded(k400=100_000, ucf101=13_320), path)


def test_both_sources_have_the_rate_of_their_experiment(with_rates) -> None:
    config = with_rates(k400={"24": 200, "25": 400, "30": 400}, ssv2={"12": 1000})
    plan = _plan(config, TWO_SOURCES)
    assert _least_fps(plan) == {0.0}
    assert [_rates(plan, f"{name}/").repeated_share for name in ("k400", "ssv2")] == [0.0, 0.0]


def test_an_index_without_rates_counts_by_its_means(sharded) -> None:
    rates = _rates(_plan(sharded(k400=100_000, ucf101=13_320)), "k400/train[:10000]")
    assert (rates.least_video_fps, rates.most_video_fps) == (25.0, 25.0)


def test_short_videos_repeat_frames_too_and_unknown_rates_are_said_to_be(
    with_rates, sharded, in_tmp: Path
) -> None:
    lengths = (0.17,) * 5 + (0.34,) * 6  # a clip of the profile has 8 frames, a third of a second
    plan = _plan(with_rates(ucf101={"25": 1000}, lengths=lengths), profile="micro")
    for split in ("train01", "test01"):
        share = _rates(plan, f"ucf101/{split}").repeated_share
        assert share == pytest.approx(0.5 * 5 / 11)
    (in_tmp / "shards" / "k400" / "index.json").unlink()
    rates = _rates(_plan(sharded(ucf101=13_320)), "k400/train[:10000]")
    assert (rates.repeated_share, rates.least_video_fps) == (None, None)
