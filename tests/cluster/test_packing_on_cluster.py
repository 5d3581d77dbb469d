"""Four runs of one job: one fails, one is killed, one is cancelled, and one is left alone; as steps
of srun, each in the image, and where a site has none.
"""

import os
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from support import micro_study as micro
from support.cluster import PROFILE, Cluster, describe, make_study, measured, site, wait_for_jobs

from kdbatch.base.atomic_write import load_json
from kdbatch.launch.run_folders import submissions_dir
from kdbatch.launch.run_status import load_run_rows
from kdbatch.launch.slurm.submissions import last_submissions
from kdbatch.launch.states.run_row import RunRow
from kdbatch.vocab.runs.folder import RunFolder
from kdbatch.vocab.status import load_status

EPOCHS = 300
FATES: tuple[str, ...] = ("fails", "killed", "cancelled", "alone")


def with_four_seeds(folder: Path) -> Path:
    path = folder / "jobs" / "profiles" / f"{PROFILE}.yaml"
    path.write_text(path.read_text().replace("seeds: [0]", "seeds: [0, 1, 2, 3]"))
    return folder


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory, toys: Path) -> Path:
    """The same four runs in the local queue."""
    folder = make_study(
        tmp_path_factory.mktemp("unpacked"), shards=toys / "shards", epochs=EPOCHS, only="labels"
    )
    with_four_seeds(folder)
    micro.wait_for_success(micro.submit(folder, folder / "jobs" / "labels.yaml"), timeout=600)
    return folder


@dataclass(frozen=True, kw_only=True)
class Packed:
    """A study whose four runs share a job; `runs` are their ids by fate, `gpus` what each saw."""

    folder: Path
    runs: Mapping[str, str]
    gpus: set[str]

    def row(self, fate: str) -> RunRow:
        return {row.run_id: row for row in load_run_rows(self.folder / "runs")}[self.runs[fate]]

    def file(self, fate: str) -> RunFolder:
        return RunFolder(self.folder / "runs" / self.runs[fate])


def packed(
    cluster: Cluster, shards: Path, unpacked: Path, *, packing: str, image: Path | None
) -> Packed:
    """Submitted, and disturbed when all that may go on have a checkpoint."""
    config = site(image=image, packing=f'"{packing}"').replace(
        "nodes = 1", "nodes = 1, runs_per_job = 4"
    )
    name = f"packed-{packing}"
    folder = cluster.study(name, shards=shards, epochs=EPOCHS, config=config, only="labels")
    with_four_seeds(folder)
    runs = dict(zip(FATES, sorted(measured(unpacked))))
    bad = RunFolder(folder / "runs" / runs["fails"])
    bad.path.mkdir(parents=True)
    bad.checkpoint.write_bytes(b"neither tensors nor numbers")
    cluster.give(folder)
    cluster.submit(folder)
    others = {fate: RunFolder(folder / "runs" / run_id) for fate, run_id in runs.items()}
    del others["fails"]
    wait_for_jobs(
        lambda: all(run.checkpoint.exists() for run in others.values()),
        timeout=240,
        what=lambda: f"three checkpoints\n{describe(folder)}\n{cluster.run('squeue')}",
    )
    return Packed(folder=folder, runs=runs, gpus=disturb(cluster, folder, others))


def disturb(cluster: Cluster, folder: Path, runs: Mapping[str, RunFolder]) -> set[str]:
    """Kill one and cancel another; returns the GPUs that each saw."""
    pids = {fate: status.pid for fate, run in runs.items() if (status := load_status(run.status))}
    environ = [Path(f"/proc/{pid}/environ").read_text().split("\0") for pid in pids.values()]
    gpus = [word for words in environ for word in words if word.startswith("CUDA_VISIBLE_DEVICES=")]
    os.kill(pids["killed"], signal.SIGKILL)
    said = cluster.kdbatch(folder, "cancel", runs["cancelled"].id)
    assert said.startswith("1 job cancelled"), said
    return set(gpus)


@pytest.fixture(scope="module")
def both(cluster: Cluster, image: Path, shards: Path, unpacked: Path) -> Mapping[str, Packed]:
    return {
        name: packed(cluster, shards, unpacked, packing=name, image=its_image)
        for name, its_image in (("srun", image), ("queue", None))
    }


@pytest.mark.parametrize("packing", ["srun", "queue"])
def test_each_run_of_a_job_has_its_own_gpu_and_its_own_fate(
    packing: str, cluster: Cluster, both: Mapping[str, Packed], unpacked: Path
) -> None:
    study = both[packing]
    wait_for_jobs(
        lambda: not cluster.queue(study.folder),
        timeout=300,
        what=lambda: f"an empty queue\n{describe(study.folder)}\n{cluster.run('squeue')}",
    )
    said = describe(study.folder)
    assert len(study.gpus) == 3, study.gpus
    jobs = {s.job_id for s in last_submissions(submissions_dir(study.folder / "runs")).values()}
    assert len(jobs) == 1, "they did not share a job"
    assert (study.row("fails").state, study.row("cancelled").state) == ("failed", "stopped"), said
    killed, alone = (load_json(study.file(fate).done) for fate in ("killed", "alone"))
    assert (killed["attempts"], killed["interruptions"]) == (2, {"crash": 1}), said
    assert (alone["attempts"], alone["interruptions"]) == (1, {}), said
    status = load_status(study.file("killed").status)
    assert status and status.first_step > 0, "it began anew"
    cluster.submit(study.folder)  # what was cancelled, alone in its job
    wait_for_jobs(
        lambda: not cluster.queue(study.folder),
        timeout=200,
        what=lambda: f"an empty queue\n{describe(study.folder)}\n{cluster.run('squeue')}",
    )
    expected = measured(unpacked)
    del expected[study.runs["fails"]]
    assert measured(study.folder) == expected
