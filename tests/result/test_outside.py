"""Runs of another trainer: the page is followed word for word, and slips are told."""

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from support.inputs import JOBS

import kdbatch
from kdbatch.base.atomic_write import load_json
from kdbatch.base.errors import UserError
from kdbatch.cli.command import dispatch
from kdbatch.cli.commands import Commands
from kdbatch.plan.resolve import make_plan
from kdbatch.result.label_ranks import label_ranks
from kdbatch.vocab.config import Config
from kdbatch.vocab.plans.records import save_record

PAGE = (JOBS.parent / "docs" / "OWN_RESULTS.md").read_text(encoding="utf-8")
NUM_VIDEOS, NUM_CLASSES = 12, 3


def block(language: str) -> str:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)[0]


@pytest.fixture
def study(in_tmp: Path) -> Path:
    """A study whose experiment `elsewhere` is noted, as `submit` does."""
    (in_tmp / "jobs").mkdir()
    (in_tmp / "jobs" / "elsewhere.yaml").write_text(block("yaml"))
    plan = make_plan([Path("jobs/elsewhere.yaml")], profile="paper", config=Config())
    save_record(in_tmp / "runs", plan.records[0])
    return in_tmp


@pytest.fixture
def arguments() -> dict[str, Any]:
    rng = np.random.default_rng(0)
    return {
        "experiment": "elsewhere",
        "role": "student",
        "case": {"network": "small"},
        "seed": 0,
        "keys": [f"v{i}" for i in range(NUM_VIDEOS)],
        "labels": np.arange(NUM_VIDEOS) % NUM_CLASSES,
        "probabilities": rng.dirichlet(np.ones(NUM_CLASSES), NUM_VIDEOS),
    }


@pytest.mark.slow
def test_the_page_leads_from_numpy_to_tables_claims_and_power(
    in_tmp: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (in_tmp / "jobs").mkdir()
    (in_tmp / "jobs" / "elsewhere.yaml").write_text(block("yaml"))
    commands = re.findall(r"^kdbatch (.*)$", PAGE, re.MULTILINE)
    assert len(commands) == 3
    assert dispatch(Commands(), commands[0].split()) == 0
    assert "18 runs are made by another trainer" in capsys.readouterr().err
    assert dispatch(Commands(), ["status"]) == 0
    assert capsys.readouterr().out.count("planned") >= 18
    (in_tmp / "write.py").write_text(block("python"))
    subprocess.run([sys.executable, "write.py"], check=True, env={"PYTHONPATH": str(JOBS.parent)})
    assert dispatch(Commands(), commands[1].split()) == 0
    report = load_json(in_tmp / "report" / "report.json")
    numbers = {
        (number["role"], number["case"]["network"]): number["mean"]
        for number in report["tables"][0]["numbers"]
        if number["group"] != "ensemble"
    }
    rows = pl.read_parquet(in_tmp / "report" / "results.parquet").filter(name="top1")
    assert len(numbers) == 6 and rows.height == 18
    for (role, network), mean in numbers.items():
        own = rows.filter(role=role, case=f"network={network}")["value"]
        assert own.len() == 3 and mean == pytest.approx(own.mean())
    claim = report["claims"][0]
    assert (claim["verdict"], claim["num_videos"], claim["num_groups"]) == ("holds", 400, 100)
    assert claim["num_seeds"] == 3 and not report["warnings"]
    page = (in_tmp / "report" / "index.html").read_text(encoding="utf-8")
    assert "A student of another trainer" in page and "Labels only" in page
    capsys.readouterr()
    assert dispatch(Commands(), commands[2].split()) == 0
    power = capsys.readouterr().out
    assert "learnt from finished runs, 12 degrees of freedom" in power
    assert "400 test videos in 100 groups (counted in finished runs)" in power


def test_the_files_are_those_of_the_contract(study: Path, arguments: dict[str, Any]) -> None:
    run_id = kdbatch.write_results("runs", **arguments, measures={"parameters": 7})
    folder = study / "runs" / run_id
    predictions = pl.read_parquet(folder / "predictions.parquet")
    assert predictions["run_id"].unique().to_list() == [run_id]
    assert predictions["group"].to_list() == predictions["key"].to_list() == arguments["keys"]
    rank_N = label_ranks(np.asarray(arguments["probabilities"]), arguments["labels"])
    assert predictions["place"].to_list() == rank_N.tolist()
    rows = pl.read_parquet(folder / "rows.parquet")
    values = dict(zip(rows["name"], rows["value"], strict=True))
    assert values["top1"] == pytest.approx(100 * float((rank_N == 0).mean()))
    assert values["test_videos"] == NUM_VIDEOS and values["parameters"] == 7
    done = load_json(folder / "done.json")
    assert done["kind"] == "outside" and set(done["files"]) == {
        "predictions.parquet",
        "rows.parquet",
    }


def test_a_second_call_replaces_the_first_and_damage_is_told(
    study: Path, arguments: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    first = kdbatch.write_results("runs", **arguments)
    arguments["probabilities"] = np.eye(NUM_CLASSES)[arguments["labels"]]
    assert kdbatch.write_results("runs", **arguments) == first
    rows = study / "runs" / first / "rows.parquet"
    assert pl.read_parquet(rows).filter(name="top1")["value"].item() == 100
    rows.write_bytes(rows.read_bytes()[:-9] + b"x" + rows.read_bytes()[-8:])
    dispatch(Commands(), ["report"])
    assert "rows.parquet" in capsys.readouterr().err


SLIPS: dict[str, tuple[Callable[[dict[str, Any]], dict[str, Any]], str]] = {
    "role": (lambda a: {"role": "studnet"}, "no run of another trainer for 'studnet'.*Roles: T1"),
    "axis": (lambda a: {"case": {"net": "small"}}, "Axes: network: small, large"),
    "seed": (lambda a: {"seed": 7}, "seed 7.*Seeds: 0, 1, 2"),
    "experiment": (lambda a: {"experiment": "other"}, "no experiment 'other'. Submit its file"),
    "keys": (lambda a: {"keys": a["keys"][:-1]}, "12 videos, but 11 keys"),
    "repeated key": (lambda a: {"keys": ["x"] * NUM_VIDEOS}, "the key 'x' is there twice"),
    "groups": (lambda a: {"groups": ["x"]}, "12 videos, but 1 groups"),
    "labels": (lambda a: {"labels": a["labels"] + 1}, "labels are whole numbers from 0 to 2"),
    "float labels": (lambda a: {"labels": a["labels"] * 1.0}, "labels are whole numbers"),
    "logits for softmax": (lambda a: {"probabilities": a["probabilities"] * 3}, "sum is 3"),
    "shape": (lambda a: {"probabilities": a["probabilities"][0]}, "has the shape \\(3,\\)"),
    "not finite": (lambda a: {"probabilities": a["probabilities"] * np.nan}, "not finite"),
    "logits": (lambda a: {"logits": np.zeros((3, 3))}, "logits have the shape \\(3, 3\\)"),
    "classes": (lambda a: {"classes": ["x"]}, "1 classes are named"),
    "measure": (lambda a: {"measures": {"top11": 1.0}}, "no 'top11'"),
}


@pytest.mark.parametrize("slip", SLIPS)
def test_a_slip_is_told_and_nothing_is_written(
    study: Path, arguments: dict[str, Any], slip: str
) -> None:
    change, message = SLIPS[slip]
    with pytest.raises(UserError, match=message) as raised:
        kdbatch.write_results("runs", **(arguments | change(arguments)))
    assert "\n" not in str(raised.value)
    assert [path.name for path in (study / "runs").iterdir()] == ["plans"]


FILE_SLIPS = {
    "small, large]": ("small, small]", "network: name at least one value, each once"),
    "rows: [T1,": ("rows: [T9,", "no 'T9'"),
    "who: student": ("who: studnet", "Did you mean 'student'"),
    "seeds: [0, 1, 2]": ("seeds: []", "seeds: name at least one value"),
    "name: elsewhere": ("name: other", "the name must be that of the file: elsewhere"),
    "columns: [network]": ("columns: []", "a column needs every axis once"),
    "roles: {": ("roles: {a b: X, ", "A role is a word"),
}


@pytest.mark.parametrize("text", FILE_SLIPS)
def test_a_slip_in_the_file_is_found_by_plan(in_tmp: Path, text: str) -> None:
    other, message = FILE_SLIPS[text]
    assert text in block("yaml")
    (in_tmp / "elsewhere.yaml").write_text(block("yaml").replace(text, other))
    with pytest.raises(UserError, match=message):
        make_plan([in_tmp / "elsewhere.yaml"], profile="paper", config=Config())
