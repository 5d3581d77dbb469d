"""`kdbatch plan` as it is typed: sums first, 80 columns, JSON; and submit's refusal."""

import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support.inputs import JOBS

from kdbatch.base.atomic_write import load_json, write_json
from kdbatch.cli.planning.plan_text import bytes_text, time_text
from kdbatch.plan.yaml_loader import load_yaml
from kdbatch.vocab.shards.index import ORIGINALS, TRANSCODED

FILES = [str(path) for path in sorted(JOBS.glob("*.yaml"))]
SUBSET_SIZE = str(JOBS / "subset_size.yaml")
MISSING = [
    "kdbatch shard k400 --subset 100k --root FOLDER",
    "kdbatch shard ucf101 --root FOLDER",
    "kdbatch shard hmdb51 --root FOLDER",
]


def kdbatch(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    return subprocess.run(
        [sys.executable, "-m", "kdbatch", *words],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )


def _shards_named(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.startswith("  kdbatch shard")]


def test_an_empty_folder_plans_and_names_every_missing_command_and_submit_refuses_with_them(
    in_tmp: Path,
) -> None:
    done = kdbatch("plan", SUBSET_SIZE, cwd=in_tmp)
    assert done.returncode == 0, done
    assert done.stdout.startswith("Provisional: 426 runs (0 done) fill 128 table cells and 7 maps")
    assert _shards_named(done.stdout) == MISSING
    assert not re.search(r"\br[0-9a-f]{10}\b", done.stdout)  # no id that is not final
    for words in ((), ("--dry-run",), ("--local",)):
        refused = kdbatch("submit", SUBSET_SIZE, *words, cwd=in_tmp)
        assert refused.returncode == 2 and _shards_named(refused.stderr) == MISSING, refused
    assert list(in_tmp.iterdir()) == []


def test_the_sum_is_first_and_says_what_device_is_assumed(in_tmp: Path) -> None:
    lines = kdbatch("plan", *FILES, "--profile=micro", cwd=in_tmp).stdout.splitlines()
    assert lines[0].startswith("Provisional: 188 runs (0 done) fill 180 table cells and 15 maps")
    assert re.fullmatch(r"Compute  [\d.]+ CPU-hours, estimated", lines[1])
    assert lines[2].strip() == "188 runs assumed: one core of a CPU"
    assert re.match(r"Time     [\d.]+ (min|h) with \d+ runs? at a time", lines[3])
    assert re.match(r"Data     [\d.]+ GB of shards, ", lines[5])
    text = "\n".join(lines)
    kinds, experiments = text.index("\nkind "), text.index("\nexperiment ")
    assert 0 < kinds < experiments < text.index("\ntakes ")
    for kind in ("pretrain", "finetune", "distill", "compare"):
        assert re.search(rf"^{kind} +\d+ +0 +[\d.]+ CPU-hours$", text, re.MULTILINE)
    for path in JOBS.glob("*.yaml"):
        assert re.search(rf"^{path.stem} +\d+ +\d+ +0 +[\d.]+ CPU-hours$", text, re.MULTILINE)


def test_a_plan_for_months_of_cpu_also_says_what_gpus_would_take(in_tmp: Path) -> None:
    text = kdbatch("plan", SUBSET_SIZE, cwd=in_tmp).stdout
    assert re.search(r"with GPUs [\d,]+ GPU-hours, assumed: one H200", text)


def test_json_has_the_jobs_of_each_kind_and_the_runs_that_share_one(in_tmp: Path) -> None:
    (in_tmp / "kdbatch.toml").write_text("[resources.distill]\nruns_per_job = 4\n")
    done = kdbatch("plan", SUBSET_SIZE, "--json", "--profile=micro", cwd=in_tmp)
    distill, finetune = (json.loads(done.stdout)["by_kind"][k] for k in ("distill", "finetune"))
    assert (distill["runs_per_job"], distill["jobs_to_do"]) == (4, -(-distill["runs"] // 4))
    assert (finetune["runs_per_job"], finetune["jobs_to_do"]) == (1, finetune["runs"])


def test_json_has_the_runs_the_sums_and_the_missing_commands(in_tmp: Path) -> None:
    done = kdbatch("plan", SUBSET_SIZE, "--json", "--profile=micro", cwd=in_tmp)
    plan = json.loads(done.stdout)
    assert plan["provisional"] is True and plan["profile"] == "micro"
    assert [each["command"] for each in plan["missing_shards"]] == [
        "kdbatch shard k400 --subset 16 --root FOLDER",
        "kdbatch shard ucf101 --root FOLDER",
    ]
    runs = {run["id"]: run for run in plan["runs"]}
    assert len(runs) == plan["totals"]["runs"] == 23
    assert all({*run["parents"]} <= {*runs} for run in runs.values())
    assert {run["kind"] for run in runs.values()} == {*plan["by_kind"]}
    assert {run["state"] for run in runs.values()} == {"planned"}
    assert all(run["provisional"] and run["rate"] == "assumed" for run in runs.values())
    hours = sum(run["device_hours"] for run in runs.values())
    for sums in (plan["by_kind"], plan["by_experiment"], {"all": plan["totals"]}):
        total = sum(each["cpu_hours_to_do"] for each in sums.values())
        assert total == pytest.approx(hours)
    totals = plan["totals"]
    chain = [runs[run_id] for run_id in totals["longest_chain"]]
    assert totals["longest_chain_hours"] == pytest.approx(sum(run["hours"] for run in chain))
    assert totals["longest_chain_hours"] <= totals["wall_hours"] <= hours


def test_the_share_of_repeated_frames_is_a_row_per_subset(sharded, in_tmp: Path) -> None:
    sharded(k400=240_000, ucf101=13_320, hmdb51=6766)
    index = in_tmp / "shards" / "ucf101" / "index.json"
    write_json(index, _with_rates(load_json(index), {"12": 250, "25": 750}))
    text = kdbatch("plan", SUBSET_SIZE, "--profile=micro", cwd=in_tmp).stdout
    row = r"^ucf101/test01 +12 to 25 fps +8 at 24 fps +10\.9 % +0$"
    assert re.search(row, text, re.MULTILINE)
    assert re.search(r"^k400/train\[:8\] +25 fps +8 at 24 fps +0\.0 % +0$", text, re.MULTILINE)
    plan = json.loads(kdbatch("plan", SUBSET_SIZE, "--json", "--profile=micro", cwd=in_tmp).stdout)
    (share,) = {
        rate["repeated_share"]
        for rate in plan["frame_rates"]["subset_size"]
        if rate["subset"].startswith("ucf101/")
    }
    assert share == pytest.approx(0.25 * 7 * (1 - 12 / 24) / 8)


def _with_rates(index: dict[str, Any], rates: dict[str, int]) -> dict[str, Any]:
    for part in index["parts"].values():
        for shard in part["shards"]:
            shard["rates"] = rates
    return index


def test_stored_videos_have_final_ids_and_states(sharded, in_tmp: Path) -> None:
    sharded(k400=240_000, ucf101=13_320, hmdb51=6766)
    plan = json.loads(kdbatch("plan", SUBSET_SIZE, "--json", "--profile=toy", cwd=in_tmp).stdout)
    assert plan["provisional"] is False and plan["missing_shards"] == []
    done = in_tmp / "runs" / plan["runs"][0]["id"] / "done.json"
    done.parent.mkdir(parents=True)
    done.write_text("{}")
    text = kdbatch("plan", SUBSET_SIZE, "--profile=toy", cwd=in_tmp).stdout
    assert text.startswith("23 runs (1 done) fill")
    first, second = (run["id"] for run in plan["runs"][:2])
    assert re.search(rf"^{first} +done ", text, re.MULTILINE)
    assert re.search(rf"^{second} +planned ", text, re.MULTILINE)


def test_on_a_cluster_the_commands_are_for_its_nodes_and_the_rate_for_a_gpu(
    slurm, in_tmp: Path
) -> None:
    (in_tmp / "kdbatch.toml").write_text('[datasets.k400]\nroot = "/data/k400"\n')
    text = kdbatch("plan", SUBSET_SIZE, cwd=in_tmp).stdout
    assert _shards_named(text)[0] == "kdbatch shard k400 --subset 100k --slurm"
    assert "runs assumed: one H200 fed from shards" in text
    assert "64 runs at a time (site.max_concurrent" in text
    assert re.search(r"^pretrain .* GPU-hours  1 GPU, 8 CPU, 64 GB, 24:00 h$", text, re.MULTILINE)


def test_no_line_of_the_whole_study_is_wider_than_a_terminal(slurm, in_tmp: Path) -> None:
    main, side = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "kdbatch", "plan", *FILES, "--profile=h200"],
        cwd=in_tmp,
        stdout=side,
        env={**os.environ, "COLUMNS": "80", "TERM": "xterm"},
    )
    os.close(side)
    text = b""
    while True:
        try:
            part = os.read(main, 65536)
        except OSError:  # the other side is closed
            break
        text += part
    os.close(main)
    assert process.wait() == 0
    lines = text.decode().splitlines()
    assert len(lines) > 144
    assert max(map(len, lines)) <= 80, max(lines, key=len)


@pytest.mark.parametrize(
    ("hours", "text"),
    [(0.01, "36 s"), (0.5, "30 min"), (36.0, "36.0 h"), (72.0, "3.00 days"), (24e4, "10,000 days")],
)
def test_times_are_in_their_unit(hours: float, text: str) -> None:
    assert time_text(hours) == text


@pytest.mark.parametrize(
    ("num_bytes", "text"),
    [
        (0.0, "0.00 B"),
        (4.6e6, "4.60 MB"),
        (4.25e10, "42.5 GB"),
        (1.15e14, "115 TB"),
        (5e18, "5,000 PB"),
    ],
)
def test_bytes_are_in_their_unit(num_bytes: float, text: str) -> None:
    assert bytes_text(num_bytes) == text


def test_power_is_shown_for_every_claim_in_80_columns(in_tmp: Path) -> None:
    done = kdbatch("plan", *FILES, "--power", "--effect=2", cwd=in_tmp)
    assert done.returncode == 0, done
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert re.search(
        r"^two_networks_beat_one_on_average +3 +8 +1\.\d +1\.\d", done.stdout, re.MULTILINE
    )
    declared = [claim["id"] for path in FILES for claim in load_yaml(Path(path))["claims"]]
    assert all(name in done.stdout for name in declared)
    assert "s.d. of 0.60 points between trainings,\n         assumed" in done.stdout
    assert "UCF101: 3,783 test videos in about 717 groups (published)" in done.stdout


def test_power_for_a_program(in_tmp: Path) -> None:
    done = kdbatch("plan", *FILES, "--power", "--effect=2", "--seed-sd=1", "--json", cwd=in_tmp)
    whole = json.loads(done.stdout)
    power = whole["power"]
    assert whole["runs"] and power["seed_sd"] == 1.0 and power["seed_sd_from"] == "typed"
    assert power["corrected_for_claims"] == len(power["claims"])
    by_id = {claim["claim"]: claim for claim in power["claims"]}
    one = by_id["two_networks_beat_one_on_average"]
    assert 0 < one["smallest_effect_alone"] < one["smallest_effect"] < 5
    assert one["seeds"] == 3 and one["cases"] == 8 and 0 < one["share_at_effect"] <= 1
    assert one["seeds_needed"] >= 2 and one["why"] is None
    assert by_id["student_fewer_blocks"]["smallest_effect"] is None
    assert "maps" in by_id["student_fewer_blocks"]["why"]


def test_flags_of_power_are_refused_without_it(in_tmp: Path) -> None:
    refused = kdbatch("plan", SUBSET_SIZE, "--effect=2", cwd=in_tmp)
    assert refused.returncode == 2
    assert "--effect belongs to --power. Add --power, or leave --effect out." in refused.stderr


def _store_k400_as(folder: Path, encoding: str) -> None:
    path = folder / "shards" / "k400" / "index.json"
    write_json(path, {**load_json(path), "encoding": encoding})


def test_shards_of_an_older_version_and_unlike_ones_are_told(sharded, in_tmp: Path) -> None:
    sharded(k400=246_245, ucf101=13_320, hmdb51=6766)
    alike = kdbatch("plan", SUBSET_SIZE, cwd=in_tmp)
    assert alike.returncode == 0 and "stored" not in alike.stdout.lower(), alike
    _store_k400_as(in_tmp, "h264 short128 g16 b1 crf22.5 v2")
    told = " ".join(kdbatch("plan", SUBSET_SIZE, cwd=in_tmp).stdout.split())
    assert "Stored by an older version: k400. Every second frame is a B-frame" in told
    assert "that this one prints: kdbatch shard k400 " in told
    assert (
        "not stored alike, and are compared so: k400 as 'h264 short128 g16 b1 crf22.5 v2'" in told
    )
    _store_k400_as(in_tmp, ORIGINALS)
    told = " ".join(kdbatch("plan", SUBSET_SIZE, cwd=in_tmp).stdout.split())
    assert "older version" not in told and "k400 as 'originals v1', ucf101 as 'h264 " in told
    as_json = json.loads(kdbatch("plan", SUBSET_SIZE, "--json", cwd=in_tmp).stdout)
    assert as_json["encodings"] == {"k400": ORIGINALS, "ucf101": TRANSCODED, "hmdb51": TRANSCODED}
