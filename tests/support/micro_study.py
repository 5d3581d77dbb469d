"""A study that takes seconds: tiny toy videos, their shards, and one experiment on two networks."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import yaml

from kdbatch.base.progress import silent
from kdbatch.launch.run_status import load_run_rows
from kdbatch.launch.states.run_row import RunRow
from kdbatch.shard.build import build_shards
from kdbatch.shard.toy.size import ToySize
from kdbatch.shard.toy.write import write_toy
from kdbatch.vocab.shard_request import ShardRequest
from support.inputs import JOBS
from support.wait import wait_until

SIZE = ToySize(
    k400_train=4,
    k400_val=1,
    ssv2_train=1,
    ssv2_validation=1,
    ucf101_clips_per_group=1,
    hmdb51_train=1,
    hmdb51_test=1,
    hmdb51_unused=1,
    num_motions=1,
    min_frames=34,
    max_frames=40,
    extra_frames=0,
)
PROFILE = """\
seeds: [0]
leave_out:
  [from_T1, from_T2, same_task, equal, smoothed, pretrained, T1_longer, T2_longer,
   equal_accuracy, retrieval, linear]
subsets: {10k: 8, 30k: 8, 50k: 8, 100k: 8}
keep: {target: [ucf101]}
widths: {r21d_10: 0.0625, shufflenet_2x: 0.0625}
clip: {num_frames: 8, stride_frames: 2, fps: 25.0, size_pixels: 32}
tasks: {rspnet: {queue_size: 16, embedding_dim: 8, key_momentum: 0.9}}
pretrain: {epochs: EPOCHS, batch_clips: 8, warmup_epochs: 1.0}
finetune: {epochs: EPOCHS, batch_clips: 8, lr: 0.02}
distill: {epochs: EPOCHS, batch_clips: 8, lr: 0.02}
selection: {ucf101: {share: 0.2, every_epochs: 4, num_clips: 1}}
compare: {num_clips: 8, batch_clips: 4}
dropout: 0.1
num_eval_clips: 2
"""


def write_shards(folder: Path) -> None:
    """Write toy videos and shards of k400 and ucf101 below `folder`."""
    write_toy(folder / "toys", processes=1, progress=silent, size=SIZE)
    for dataset in ("k400", "ucf101"):
        build_shards(
            ShardRequest(dataset=dataset, videos_per_shard=8, processes=1),
            root=folder / "toys" / dataset,
            shards_dir=folder / "shards",
            progress=silent,
        )


def write_jobs(folder: Path, *, epochs: int) -> Path:
    """Write nine runs of the first experiment and a profile of `epochs` epochs to `folder`/jobs."""
    (folder / "jobs" / "profiles").mkdir(parents=True)
    path = folder / "jobs" / "subset_size.yaml"
    path.write_text((JOBS / "subset_size.yaml").read_text())
    (folder / "jobs" / "profiles" / "test.yaml").write_text(PROFILE.replace("EPOCHS", str(epochs)))
    return leave_out(
        path, "cka_shufflenet_labels_only", "cka_shufflenet_untrained", "cka_r21d_untrained"
    )


def leave_out(experiment: Path, *maps: str) -> Path:
    """Remove these maps from the file, and the claims about them; the ids of other runs stay."""
    raw = yaml.safe_load(experiment.read_text())
    raw["maps"] = [item for item in raw["maps"] if item["id"] not in maps]
    raw["claims"] = [
        claim for claim in raw["claims"] if not {claim["who"], *claim.get("than", ())} & {*maps}
    ]
    experiment.write_text(yaml.safe_dump(raw, sort_keys=False))
    return experiment


def submit(folder: Path, experiment: Path, *, jobs: int = 2) -> subprocess.Popen[str]:
    """Start `kdbatch submit` in a process group of its own, so that `kill` reaches its children."""
    arguments = ["submit", str(experiment), "--profile=test", "--local", f"--jobs={jobs}"]
    return subprocess.Popen(
        [sys.executable, "-m", "kdbatch", *arguments],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def wait_for_success(process: subprocess.Popen[str], *, timeout: float = 150) -> str:
    """The output of a process that must exit with 0."""
    output, _ = process.communicate(timeout=timeout)
    assert process.returncode == 0, output
    return output


def wait_for_run(folder: Path, kind: str, *, timeout: float = 60) -> RunRow:
    """Wait for a running run of `kind` that has taken a step."""
    found: list[RunRow] = []

    def is_running() -> bool:
        for row in load_run_rows(folder / "runs"):
            if row.kind == kind and row.state == "running" and (row.step > 0 or kind == "compare"):
                found.append(row)
        return bool(found)

    wait_until(is_running, timeout=timeout, what=lambda: f"a running {kind} run")
    return found[0]


def kill(process: subprocess.Popen[str]) -> None:
    """Send SIGKILL to the whole process group: no process can clean up."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def run_results(folder: Path) -> dict[str, dict[str, object]]:
    """Run id -> results that must not depend on interruptions: hash of weights, bytes of files."""
    results: dict[str, dict[str, object]] = {}
    for done in sorted((folder / "runs").glob("r*/done.json")):
        facts = json.loads(done.read_text())
        run: dict[str, object] = {"model": facts.get("model_sha256"), "kind": facts["kind"]}
        for name in ("predictions.parquet", "cka.parquet"):
            path = done.parent / name
            if path.exists():
                run[name] = path.read_bytes()
        results[done.parent.name] = run
    return results
