"""Two images that a real Apptainer builds have equal contents."""

from pathlib import Path

import pytest
from support.cluster import PACKAGES, ROOT, Cluster

MANIFEST = "/opt/kdbatch/manifest.txt"


@pytest.mark.slow
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
