"""Rates of finished runs: they replace the assumed ones of runs like them, and of no others."""

import json
from pathlib import Path

import pytest
from support.inputs import JOBS

from kdbatch.plan.costs.estimator import START_SECONDS
from kdbatch.plan.resolve import make_plan
from kdbatch.vocab.config import Config
from kdbatch.vocab.done import Done, Provenance, StageFacts, save_done
from kdbatch.vocab.plans.plan import Plan, PlannedRun
from kdbatch.vocab.runs.folder import Assignment, RunFolder

SUBSET_SIZE = JOBS / "subset_size.yaml"


@pytest.fixture
def config(sharded) -> Config:
    return sharded(k400=240_000, ssv2=168_000, ucf101=13_320, hmdb51=6766)


def _plan(config: Config, *, file: Path = SUBSET_SIZE, has_gpus: bool = True) -> Plan:
    return make_plan([file], profile="paper", config=config, has_gpus=has_gpus)


def _titled(plan: Plan, start: str) -> PlannedRun:
    return next(item for item in plan.runs if item.title.startswith(start))


def _finish(
    config: Config,
    item: PlannedRun,
    *,
    rate: float | None,
    seconds: float,
    device: str = "NVIDIA A100",
    num_devices: int = 1,
) -> None:
    folder = RunFolder(config.runs_dir / item.run.id)
    folder.path.mkdir(parents=True)
    folder.save(
        Assignment(
            run=item.run,
            title=item.title,
            shards_dir="shards",
            decoder="pyav",
            resources=item.resources,
        )
    )
    done = Done(
        run_id=item.run.id,
        kind=item.run.recipe.kind,
        seconds=seconds,
        device_hours=num_devices * seconds / 3600,
        provenance=Provenance(device=device),
        facts=StageFacts(clips_per_second=rate),
    )
    save_done(folder.done, done)


def test_runs_of_the_same_network_and_kind_take_the_measured_rate(config: Config) -> None:
    before = _plan(config)
    shown = 200 * 10_000
    _finish(
        config,
        _titled(before, "pretrain R(2+1)D by RSPNet C1 on k400[:10k]"),
        rate=100.0,
        seconds=shown / 100 + 500,  # 500 s beside the steps
    )
    after = _plan(config)
    larger = _titled(after, "pretrain R(2+1)D by RSPNet C1 on k400[:100k]")
    assert larger.cost.num_measured == 1 and larger.cost.device_title == "NVIDIA A100"
    expected = START_SECONDS + 500 + 200 * 100_000 / 100
    assert larger.cost.device_hours * 3600 == pytest.approx(expected)
    for start in ("pretrain ShuffleNet", "fine-tune R(2+1)D"):
        assert _titled(after, start).cost == _titled(before, start).cost
        assert _titled(after, start).cost.num_measured == 0


def test_finished_runs_of_another_experiment_count_too(config: Config) -> None:
    other = JOBS / "task_complexity.yaml"
    item = _titled(_plan(config, file=other), "pretrain R(2+1)D by RotNet C3")
    _finish(config, item, rate=50.0, seconds=200 * 50_000 / 50)
    estimate = _titled(_plan(config), "pretrain R(2+1)D by RSPNet C1 on k400[:50k]").cost
    # Another task of the same network: in proportion to what both would take on the assumed device.
    assumed = {"RotNet": 12 / (3 * 806), "RSPNet": 3 / 642}
    expected = 200 * 50_000 / 50 * assumed["RSPNet"] / assumed["RotNet"]
    assert estimate.num_measured == 1
    assert estimate.device_hours * 3600 == pytest.approx(expected + START_SECONDS)


def test_a_run_on_two_devices_took_twice_its_seconds(config: Config) -> None:
    item = _titled(_plan(config), "pretrain R(2+1)D by RSPNet C1 on k400[:10k]")
    _finish(config, item, rate=100.0, seconds=200 * 10_000 / 100, num_devices=2)
    cost = _titled(_plan(config), "pretrain R(2+1)D by RSPNet C1 on k400[:30k]").cost
    assert cost.device_hours * 3600 == pytest.approx(2 * 200 * 30_000 / 100 + START_SECONDS)


def test_runs_on_a_cpu_say_nothing_about_gpus(config: Config) -> None:
    item = _titled(_plan(config), "pretrain R(2+1)D by RSPNet C1 on k400[:10k]")
    _finish(config, item, rate=1.0, seconds=200 * 10_000, device="cpu (x86_64)")
    start = "pretrain R(2+1)D by RSPNet C1 on k400[:30k]"
    assert _titled(_plan(config), start).cost.num_measured == 0
    assert _titled(_plan(config, has_gpus=False), start).cost.num_measured == 1


def test_maps_are_measured_by_the_seconds_of_their_runs(config: Config) -> None:
    plan = _plan(config)
    for item in plan.runs:
        if item.title.startswith("CKA of T2") and item.run.seed < 2:
            _finish(config, item, rate=None, seconds=90)
    cost = next(
        item.cost
        for item in _plan(config).runs
        if item.title.startswith("CKA of T2") and item.run.seed == 2
    )
    assert (cost.num_measured, cost.device_hours * 3600) == (2, pytest.approx(90 + START_SECONDS))
    assert _titled(_plan(config), "CKA of T1").cost.num_measured == 0


def test_damaged_and_old_records_are_left_out(config: Config) -> None:
    plan = _plan(config)
    item = _titled(plan, "pretrain R(2+1)D by RSPNet C1 on k400[:10k]")
    _finish(config, item, rate=100.0, seconds=20_000)
    done = config.runs_dir / item.run.id / "done.json"
    for text in ("{", "[]", "{}", json.dumps({"seconds": -1}), json.dumps({"seconds": "x"})):
        done.write_text(text)
        cost = _titled(_plan(config), "pretrain R(2+1)D by RSPNet C1 on k400[:30k]").cost
        assert cost.num_measured == 0


def test_finished_runs_of_other_data_do_not_matter_to_a_plan(config: Config, in_tmp: Path) -> None:
    other = _plan(config, file=JOBS / "out_of_distribution.yaml")
    item = _titled(other, "pretrain R(2+1)D by RotNet C3 on ssv2")
    _finish(config, item, rate=50.0, seconds=200 * 30_000 / 50)
    path = config.runs_dir / item.run.id / "run.json"
    start = "pretrain R(2+1)D by RSPNet C1 on k400[:30k]"
    (in_tmp / "shards" / "ssv2" / "index.json").write_text("{")  # as while it is stored again
    assert _titled(_plan(config), start).cost.num_measured == 1
    text = path.read_text()
    for dataset in ("gone", "ucf101"):  # an unknown data set, and one without the split `train`
        path.write_text(text.replace('"ssv2"', f'"{dataset}"'))
        assert _titled(_plan(config), start).cost.num_measured == 0


def test_damaged_finished_runs_are_told_in_one_line(config: Config) -> None:
    plan = _plan(config)
    first, second, other = plan.runs[:3]
    for item in (first, second, other):
        _finish(config, item, rate=10.0, seconds=100.0)
    assert _plan(config).warnings == ()
    damaged = [RunFolder(config.runs_dir / item.run.id).done for item in (first, second)]
    for path in damaged:
        path.write_text("{")
    (line,) = _plan(config).warnings
    assert line.startswith("the estimates leave out what is damaged in 2 finished runs. The first:")
    assert str(min(damaged)) in line or str(max(damaged)) in line
    assert "kdbatch resume" in line
