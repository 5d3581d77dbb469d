"""`submit --dry-run`."""

from support.launching import config_in, ids, plan_of

from kdbatch.launch.dry_run import describe_launch
from kdbatch.launch.slurm.submit import submit_arrays
from kdbatch.vocab.runs.folder import RunFolder

PAIRS = {"a": (), "b": (), "x": ("a",), "y": ("b",), "z": ("a", "b")}


def test_a_dry_run_writes_nothing(slurm, tmp_path):
    for queue in ("slurm", "local"):
        assert describe_launch(plan_of(PAIRS), config=config_in(tmp_path), queue=queue)
    assert {path.name for path in tmp_path.iterdir()} == {"cluster"} and not (
        slurm / "last"
    ).exists()


def test_the_line_of_an_sbatch_has_its_size_resources_and_dependencies(slurm, tmp_path):
    first, each = describe_launch(plan_of(PAIRS), config=config_in(tmp_path), queue="slurm")
    name = first.split()[1]
    assert first == f"sbatch {name} array of 2, each 1 GPU, 4 CPU, 16 GB, 1:30 h"
    assert "array of 3, each" in each and each.endswith(
        f"; each after its own in {name.rstrip(':')}"
    )
    _, both = describe_launch(
        plan_of({"a": (), "b": (), "z": ("a", "b")}), config=config_in(tmp_path), queue="slurm"
    )
    assert "1 job, each" in both and both.endswith(f"; after 2 in {name.rstrip(':')}")


def test_a_dry_run_names_the_arrays_that_submit_makes(slurm, tmp_path):
    plan, config = plan_of(PAIRS), config_in(tmp_path)
    announced = [
        line.split()[1].rstrip(":") for line in describe_launch(plan, config=config, queue="slurm")
    ]
    submit_arrays(plan, config=config)
    folders = (path for path in (config.runs_dir / "slurm").iterdir() if path.is_dir())
    assert sorted(announced) == sorted(path.name for path in folders)
    assert describe_launch(plan, config=config, queue="slurm") == ["left out: 5 in the queue"]


def test_local_runs_are_named_in_order_and_done_ones_left_out(tmp_path):
    plan, config = plan_of({"a": (), "x": ("a",)}), config_in(tmp_path)
    assert [line.split()[2] for line in describe_launch(plan, config=config, queue="local")] == [
        "a,",
        "x,",
    ]
    done = RunFolder(config.runs_dir / ids(plan)["a"]).done
    done.parent.mkdir(parents=True)
    done.touch()
    lines = describe_launch(plan, config=config, queue="local")
    assert [line.split()[2] for line in lines[:-1]] == ["x,"] and lines[-1] == "left out: 1 done"
