"""An image that kdbatch.toml names by its digest, pulled by a real Apptainer."""

import sys
from pathlib import Path

import pytest
from support.cluster import Cluster
from support.oci_registry import oci_registry

PREPARE = """
from kdbatch.launch.container.image import image_file
from kdbatch.launch.container.pull import prepare_container
from kdbatch.vocab.config import load_config
config = load_config()
prepare_container(config, on_this_machine=False)
print(image_file(config).path)
"""


def folder_for(cluster: Cluster, name: str, image: str) -> Path:
    folder = cluster.work / name
    folder.mkdir()
    text = f'[paths]\nimages = "images"\n[container]\nimage = "{image}"\n'
    (folder / "kdbatch.toml").write_text(text)
    cluster.give(folder)
    return folder


def pull(cluster: Cluster, folder: Path) -> str:
    """The path of the pulled image; Apptainer has no layer of an earlier test in a cache."""
    env = {"APPTAINER_NOHTTPS": "1", "APPTAINER_CACHEDIR": str(folder / "cache")}
    return cluster.run(sys.executable, "-c", PREPARE, cwd=folder, env=env).splitlines()[-1]


def test_an_image_is_pulled_by_its_digest_once_and_starts(cluster: Cluster) -> None:
    with oci_registry() as registry:
        image = f"docker://{registry.host}/lab/kd@{registry.digest}"
        folder = folder_for(cluster, "pulled", image)
        path = pull(cluster, folder)
        asked = len(registry.asked)
        assert pull(cluster, folder) == path and len(registry.asked) == asked > 0
    assert "org.label-schema" in cluster.run("apptainer", "inspect", path)


def test_bytes_that_are_not_those_of_the_digest_are_not_used(cluster: Cluster) -> None:
    with oci_registry() as registry:
        registry.blobs[registry.layer] = b"\0" * len(registry.blobs[registry.layer])
        image = f"docker://{registry.host}/lab/kd@{registry.digest}"
        folder = folder_for(cluster, "refused", image)
        with pytest.raises(AssertionError, match="was not pulled"):
            pull(cluster, folder)
    assert not list((folder / "images").glob("*.sif"))
