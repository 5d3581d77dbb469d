"""The files that are written before anything starts."""

from dataclasses import replace

from support.launching import config_in, ids, plan_of

from kdbatch.launch.run_folders import without_finished, write_runs
from kdbatch.vocab.plans.records import load_records
from kdbatch.vocab.runs.cache import Cache
from kdbatch.vocab.runs.folder import RunFolder


def test_a_worker_finds_its_run_its_shards_and_the_report_its_record(tmp_path):
    plan, config = plan_of({"a": (), "b": ("a",)}), config_in(tmp_path)
    write_runs(plan, config=config)
    for planned in plan.runs:
        assignment = RunFolder(config.runs_dir / planned.run.id).load()
        assert (assignment.run, assignment.title, assignment.shards_dir) == (
            planned.run,
            planned.title,
            str(tmp_path / "shards"),
        )
    assert load_records(config.runs_dir) == plan.records


def test_an_equal_file_is_not_written_again_and_a_different_one_is(tmp_path):
    plan, config = plan_of({"a": ()}), config_in(tmp_path)
    write_runs(plan, config=config)
    path = RunFolder(config.runs_dir / ids(plan)["a"]).assignment
    before = path.stat()
    write_runs(plan, config=config)
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    write_runs(
        plan,
        config=replace(config, decoder="decord", cache=Cache(path="/dev/shm/frames", max_gb=3.0)),
    )
    assignment = RunFolder(path.parent).load()
    assert (assignment.decoder, assignment.cache) == (
        "decord",
        Cache(path="/dev/shm/frames", max_gb=3.0),
    )


def test_a_damaged_file_is_replaced(tmp_path):
    plan, config = plan_of({"a": ()}), config_in(tmp_path)
    folder = RunFolder(config.runs_dir / ids(plan)["a"])
    folder.path.mkdir(parents=True)
    folder.assignment.write_text("{")
    write_runs(plan, config=config)
    assert folder.load().title == "a"


def test_a_finished_folder_is_never_touched(tmp_path):
    plan, config = plan_of({"a": ()}), config_in(tmp_path)
    folder = RunFolder(config.runs_dir / ids(plan)["a"])
    folder.path.mkdir(parents=True)
    folder.done.touch()
    write_runs(plan, config=config)
    assert [path.name for path in folder.path.iterdir()] == ["done.json"]


def test_runs_that_ended_since_the_plan_was_made_leave_its_waves(tmp_path):
    plan, config = plan_of({"a": (), "b": ("a",)}), config_in(tmp_path)
    folder = RunFolder(config.runs_dir / ids(plan)["a"])
    folder.path.mkdir(parents=True)
    folder.done.touch()
    now = without_finished(plan, runs_dir=config.runs_dir)
    assert [p.done for p in now.runs] == [True, False]
    assert [wave.run_ids for wave in now.waves] == [(ids(plan)["b"],)]
