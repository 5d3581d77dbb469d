"""A whole study through SLURM, in the image, beside the same study through the local queue."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
from support.cluster import EPOCHS, ROOT, Cluster, measured, site

import kdbatch
from kdbatch.base.atomic_write import load_json
from kdbatch.launch.run_status import load_run_rows


@pytest.fixture(scope="module")
def study(cluster: Cluster, image: Path, shards: Path) -> Path:
    folder = cluster.study("study", shards=shards, epochs=EPOCHS, config=site(image=image))
    cluster.submit(folder)
    cluster.wait_all_done(folder)
    return folder


def test_the_study_in_the_image_finds_what_the_local_queue_finds(
    cluster: Cluster, study: Path, local_study: Path
) -> None:
    assert len(measured(study)) == 9
    assert measured(study) == measured(local_study)
    cluster.kdbatch(study, "report")
    subprocess.run(
        [sys.executable, "-m", "kdbatch", "report"],
        cwd=local_study,
        check=True,
        capture_output=True,
    )
    for name in ("tables/table1.md", "tables/table1.csv", "tables/table1.tex", "report.json"):
        assert (study / "report" / name).read_bytes() == (
            local_study / "report" / name
        ).read_bytes(), name


def test_its_runs_were_array_elements_in_the_image_and_each_began_once(
    cluster: Cluster, study: Path, image: Path
) -> None:
    inside = cluster.run(
        "apptainer",
        "--quiet",
        "exec",
        str(image),
        "python3",
        "-c",
        "import platform; print(platform.python_version())",
    )
    lock = hashlib.sha256((ROOT / "container" / "requirements.lock").read_bytes()).hexdigest()
    made_of = {
        "python_version": inside.strip(),
        "lock_sha256": lock,
        "image_sha256": hashlib.sha256(image.read_bytes()).hexdigest(),
    }
    jobs: set[str] = set()
    for row in load_run_rows(study / "runs"):
        facts = load_json(study / "runs" / row.run_id / "done.json")
        assert (facts["attempts"], facts["interruptions"]) == (1, {})
        assert {name: facts[name] for name in made_of} == made_of
        assert facts["git_sha"], "the commit that the image was built from, or why it is not known"
        jobs.add(row.job)
    assert len(jobs) == 9 and any("_" in job for job in jobs)


def test_a_finished_study_hands_nothing_to_slurm(cluster: Cluster, study: Path) -> None:
    answer = cluster.submit(study)
    assert answer.rstrip().endswith(" done. Next: kdbatch report") and "handed" not in answer
    assert not cluster.queue(study)


def test_the_image_says_what_it_holds(cluster: Cluster, image: Path) -> None:
    said = json.loads(cluster.run("apptainer", "inspect", "--json", "--labels", str(image)))[
        "data"
    ]["attributes"]["labels"]
    assert said["org.opencontainers.image.version"] == kdbatch.__version__
    assert (
        said["kdbatch.lock.sha256"]
        == hashlib.sha256((ROOT / "container" / "requirements.lock").read_bytes()).hexdigest()
    )
    frozen = cluster.run(
        "apptainer", "--quiet", "exec", str(image), "cat", "/opt/kdbatch/freeze.txt"
    )
    assert "kdbatch @ " in frozen and "torch==" in frozen
