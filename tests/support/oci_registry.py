"""A registry on this machine, with one image of one small layer, for a real Apptainer."""

import contextlib
import hashlib
import http.server
import io
import json
import tarfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"
CONFIG = "application/vnd.oci.image.config.v1+json"


@dataclass
class OciRegistry:
    """`host` is HOST:PORT, `digest` that of the image lab/kd; `blobs` are served by their digest,
    and every request for one is noted in `asked`.
    """

    host: str = ""
    digest: str = ""
    layer: str = ""
    blobs: dict[str, bytes] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def put(self, content: bytes) -> dict[str, object]:
        """Store a blob; returns its descriptor without a type."""
        digest = hashlib.sha256(content).hexdigest()
        self.blobs[digest] = content
        return {"digest": f"sha256:{digest}", "size": len(content)}

    def put_image(self) -> None:
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as tar:
            for name in ("bin", "etc", "tmp", "proc", "sys", "dev"):
                folder = tarfile.TarInfo(name)
                folder.type, folder.mode = tarfile.DIRTYPE, 0o755
                tar.addfile(folder)
        layer = self.put(packed.getvalue())
        made_of = {"type": "layers", "diff_ids": [layer["digest"]]}
        config = {"architecture": "amd64", "os": "linux", "config": {}, "rootfs": made_of}
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": {"mediaType": CONFIG, **self.put(json.dumps(config).encode())},
            "layers": [{"mediaType": LAYER, **layer}],
        }
        self.layer = str(layer["digest"]).removeprefix("sha256:")
        self.digest = str(self.put(json.dumps(manifest).encode())["digest"])


@contextlib.contextmanager
def oci_registry() -> Iterator[OciRegistry]:
    """Serve the image, without encryption, as long as the `with` block lasts."""
    registry = OciRegistry()
    registry.put_image()

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            digest = self.path.rpartition("sha256:")[2]
            registry.asked.append(digest)
            content = b"{}" if self.path == "/v2/" else registry.blobs.get(digest)
            kind = MANIFEST if "/manifests/" in self.path else "application/octet-stream"
            self.send_response(404 if content is None else 200)
            self.send_header("Content-Length", str(len(content or b"")))
            self.send_header("Content-Type", kind)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(content or b"")

        do_HEAD = do_GET

        def log_message(self, format: str, *args: object) -> None:
            """Says nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        registry.host = f"127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield registry
        server.shutdown()
