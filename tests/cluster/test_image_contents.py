"""Two images that a real Apptainer builds have equal contents."""

import json
import textwrap
from pathlib import Path

import pytest
from support.cluster import PACKAGES, ROOT, Cluster

MANIFEST = "/opt/kdbatch/manifest.txt"


@pytest.mark.rare
def test_two_builds_of_the_same_sources_have_equal_contents(cluster: Cluster, image: Path) -> None:
    build = (str(ROOT / "container" / "build"), "--bound", str(PACKAGES), "--on", str(image))
    lists = []
    for name in ("one", "two"):
        folder = cluster.work / name
        said = cluster.run(*build, cwd=ROOT, timeout=600, env={"KDBATCH_IMAGES": str(folder)})
        built = said.splitlines()[-1]
        lists.append(cluster.run("apptainer", "--quiet", "exec", built, "cat", MANIFEST))
        label = f"kdbatch.base: image {image.name} sha256:"
        assert label in cluster.run("apptainer", "inspect", built)
    assert lists[0] == lists[1]
    assert " ./opt/venv/bin/kdbatch\n" in lists[0] and "/kdbatch/run/main.py\n" in lists[0]


@pytest.mark.rare
def test_code_of_ones_own_is_tried_in_a_copy_of_the_image(cluster: Cluster, image: Path) -> None:
    page = (ROOT / "container" / "README.md").read_text(encoding="utf-8")
    block = page.split("as `own.def`:\n\n", 1)[1].split("\n\nand `apptainer build")[0]
    definition = cluster.work / "own.def"
    definition.write_text(textwrap.dedent(block).replace("kdbatch-HASH.sif", str(image)) + "\n")
    bind, own = ("--bind", f"{PACKAGES}:/srv"), str(cluster.work / "own.sif")
    cluster.run("apptainer", "build", *bind, own, str(definition), cwd=ROOT, timeout=600)
    tried = "echo [] | python3 -m kdbatch.run.extensions"
    said = cluster.run("apptainer", "exec", "--cleanenv", *bind, own, "bash", "-c", tried)
    (line,) = json.loads(said.splitlines()[-1])["installed"]
    assert line.startswith("kdbatch-example 0.1.0") and "tiny3d" in line and "logit-mse" in line
    assert json.loads(said.splitlines()[-1])["problems"] == []
