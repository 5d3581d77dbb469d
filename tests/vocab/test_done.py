import json
from pathlib import Path

import pytest

from kdbatch.vocab.done import Done, Provenance, StageFacts, load_done, save_done

DONE = Done(
    run_id="r1",
    kind="distill",
    title="train a student",
    finished_at=1795703299.25,
    seconds=4.5,
    device_hours=0.00125,
    attempts=2,
    interruptions={"preemption": 1},
    provenance=Provenance(kdbatch_version="0.1.0", host="node1", device="cpu (x86_64)"),
    facts=StageFacts(model_sha256="ab", num_parameters=7, clips_per_second=1.5, classes=("a", "b")),
)
# A record as version 0.1.0 wrote it: flat, without `num_parameters`, with a field of a later one.
OLD = {
    "run_id": "r1",
    "kind": "finetune",
    "title": "t",
    "finished_at": 1.0,
    "seconds": 2,
    "device_hours": 0.5,
    "attempts": 1,
    "interruptions": {},
    "kdbatch_version": "0.1.0",
    "git_sha": "",
    "torch_version": "2.15.0",
    "host": "n",
    "device": "cpu (x86_64)",
    "model_sha256": "cd",
    "classes": ["x"],
    "of_a_later_version": [1],
}


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    """A folder with the name of the run."""
    (tmp_path / "r1").mkdir()
    return tmp_path / "r1"


def no_warning(text: str) -> None:
    pytest.fail(text)


def test_a_record_is_read_as_it_was_written(run_folder: Path) -> None:
    save_done(run_folder / "done.json", DONE)
    assert load_done(run_folder / "done.json", warn=no_warning) == DONE


def test_facts_that_a_stage_lacks_are_not_in_the_file(run_folder: Path) -> None:
    save_done(
        run_folder / "done.json", Done(run_id="r1", kind="compare", facts=StageFacts(num_clips=3))
    )
    raw = json.loads((run_folder / "done.json").read_text())
    assert raw["num_clips"] == 3 and "classes" not in raw and "model_sha256" not in raw


def test_records_of_other_versions_are_read_without_a_warning(run_folder: Path) -> None:
    (run_folder / "done.json").write_text(json.dumps(OLD))
    done = load_done(run_folder / "done.json", warn=no_warning)
    assert done is not None and (done.seconds, done.provenance.torch_version) == (2.0, "2.15.0")
    assert done.facts == StageFacts(model_sha256="cd", classes=("x",))


@pytest.mark.parametrize(
    ("field", "value"),
    [("seconds", -1), ("seconds", float("nan")), ("attempts", "two"), ("classes", 3), ("host", 1)],
)
def test_a_damaged_field_is_named_and_left_out(field: str, value: object, run_folder: Path) -> None:
    (run_folder / "done.json").write_text(json.dumps({**OLD, field: value}))
    warnings: list[str] = []
    done = load_done(run_folder / "done.json", warn=warnings.append)
    assert done is not None and done.kind == "finetune" and done.device_hours == 0.5
    (warning,) = warnings
    assert "done.json" in warning and field in warning


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "3"])
def test_a_file_that_holds_no_record_is_none_and_a_warning(text: str, run_folder: Path) -> None:
    (run_folder / "done.json").write_text(text)
    warnings: list[str] = []
    assert load_done(run_folder / "done.json", warn=warnings.append) is None
    assert len(warnings) == 1 and "done.json" in warnings[0]


def test_no_file_is_none_without_a_warning(run_folder: Path) -> None:
    assert load_done(run_folder / "done.json", warn=no_warning) is None


@pytest.mark.parametrize("record", [OLD, {**OLD, "files": {}}])
def test_the_record_of_another_run_is_none_and_a_warning(
    tmp_path: Path, record: dict[str, object]
) -> None:
    path = tmp_path / "r2" / "done.json"
    path.parent.mkdir()
    path.write_text(json.dumps(record))
    warnings: list[str] = []
    assert load_done(path, warn=warnings.append) is None
    assert "is the record of another run (r1)" in warnings[0] and "rm -r " in warnings[0]
