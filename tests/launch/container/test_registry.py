"""The digest of a tag, asked of a registry that the test runs on this machine."""

import hashlib
import http.server
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from kdbatch.base.errors import UserError
from kdbatch.launch.container.command import check_container
from kdbatch.launch.container.registry import digest_of
from kdbatch.vocab.config import Config, Container

ROOT = Path(__file__).parents[3]
MANIFEST = b'{"schemaVersion": 2, "manifests": []}'
DIGEST = hashlib.sha256(MANIFEST).hexdigest()


class Registry(http.server.BaseHTTPRequestHandler):
    """Has lab/kd:1."""

    def do_GET(self) -> None:
        is_known = self.path == "/v2/lab/kd/manifests/1"
        self.send_response(200 if is_known and "oci" in self.headers["Accept"] else 404)
        self.end_headers()
        self.wfile.write(MANIFEST if is_known else b"{}")

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""


@pytest.fixture
def host() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Registry) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_digest_is_the_hash_of_what_the_registry_has_for_a_tag(host: str) -> None:
    assert digest_of(f"{host}/lab/kd", "1") == DIGEST
    assert digest_of(f"{host}/lab/kd", "2") == "" == digest_of("127.0.0.1:9/lab/kd", "1")


def test_a_tag_is_refused_with_the_digest_to_write(host: str) -> None:
    config = Config(container=Container(image=f"oras://{host}/lab/kd:1"))
    with pytest.raises(UserError, match=f'Write: image = "oras://{host}/lab/kd@sha256:{DIGEST}"$'):
        check_container(config, on_this_machine=False)


@pytest.mark.parametrize("tag", ["1", "2"])
def test_the_build_takes_its_base_by_digest_where_the_registry_tells_it(
    host: str, tag: str, tmp_path: Path
) -> None:
    (tmp_path / "apptainer").write_text(
        '#!/bin/bash\n[ "$2" = --help ] && { echo "--reproducible"; exit; }\n'
        '[ "$1" = build ] && printf "%s\\n" "$@" >"$OUT" && exit 1\n'
    )
    (tmp_path / "apptainer").chmod(0o755)
    name = f"{host}/lab/kd"
    path = f"{tmp_path}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    env = {**os.environ, "PATH": path, "KDBATCH_IMAGES": str(tmp_path), "OUT": f"{tmp_path}/words"}
    subprocess.run(
        [ROOT / "container" / "build", "--docker", f"{name}:{tag}"], env=env, capture_output=True
    )
    words = (tmp_path / "words").read_text().splitlines()
    base = f"{name}@sha256:{DIGEST}" if tag == "1" else f"{name}:{tag}"
    assert f"FROM={base}" in words and f"BASE=docker {base}" in words and "--reproducible" in words
