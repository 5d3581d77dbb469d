"""A worker that trains nothing: reports what a node offers to a worker inside the image.

Usage: `python -m kdbatch.run.node_probe OUT SHARDS [CACHE]`.
"""

import importlib
import os
import signal
import site
import sys
import time
from io import BytesIO
from pathlib import Path

from kdbatch.base.atomic_write import write_json
from kdbatch.vocab.installed.tables import installed_lines
from kdbatch.vocab.runs.cache import Cache

PACKAGES = ("torch", "torchvision", "av", "webdataset", "safetensors", "polars")
DECODER_PACKAGES = {"pyav": "av", "decord": "decord", "torchcodec": "torchcodec"}
# How long it waits for the one SIGUSR2 that the host sends when it has read the first report.
SIGNAL_SECONDS = 45.0
LISTEN_SECONDS = 3.0  # and then for a second signal, which must not come


def main(out: Path, shards: Path, cache: str = "") -> int:
    """Write `out` twice: when it listens for the signal, and after it has received it."""
    received: list[float] = []
    signal.signal(signal.SIGUSR2, lambda *_: received.append(time.monotonic()))
    facts: dict[str, object] = {
        "host": os.uname().nodename,
        "python": sys.version.split()[0],
        "missing": [name for name in PACKAGES if not _imports(name)],
        "decoders": [name for name in DECODER_PACKAGES if _has_decoder(name)],
        "user_site": bool(site.ENABLE_USER_SITE),
        "shards": sorted(path.parent.name for path in shards.glob("*/index.json")),
        "cache": Cache(path=cache).problem(os.path.expandvars) if cache else "",
        "code": installed_lines(),
        "cores": len(os.sched_getaffinity(0)),
    }
    if not facts["missing"]:
        facts |= {"decodes": _decodes(), **_devices()}
    write_json(out, facts | {"listening": True})
    end = time.monotonic() + SIGNAL_SECONDS
    while not received and time.monotonic() < end:
        time.sleep(0.1)
    time.sleep(LISTEN_SECONDS if received else 0)
    write_json(out, facts | {"listening": False, "signals": len(received)})
    return 0


def _imports(name: str) -> bool:
    try:
        importlib.import_module(name)
    except (ImportError, OSError, RuntimeError):  # the last two: a library of it is missing
        return False
    return True


def _has_decoder(name: str) -> bool:
    """Whether a decoder can be used; torchcodec also needs the libraries of FFmpeg."""
    package = DECODER_PACKAGES[name]
    if not _imports(package):
        return False
    return name != "torchcodec" or sys.modules[package].ffmpeg_major_version is not None


def _devices() -> dict[str, object]:
    """The GPUs that PyTorch finds, and whether each can compute: its build must support them."""
    import torch  # noqa: PLC0415 - a node without torch is reported, not an error

    count = torch.cuda.device_count()
    names = [torch.cuda.get_device_name(i) for i in range(count)]
    computed = []
    for i in range(count):
        ones = torch.ones(64, 64, device=f"cuda:{i}")
        computed.append(float((ones @ ones).sum()) == 64.0**3)
    return {
        "torch": torch.__version__,
        "cuda": torch.version.cuda or "",
        "rocm": torch.version.hip or "",
        "gpus": names,
        "gpus_compute": all(computed),
        "compile_problem": compile_problem("cuda") if count else "",
    }


def compile_problem(device: str) -> str:
    """Why torch.compile fails on a device; empty where it works. On a GPU it takes a C compiler."""
    import torch  # noqa: PLC0415 - as above

    ones = torch.ones(64, device=device)
    try:
        compiled = torch.compile(lambda x: (x + 1).sin())(ones)
    except Exception as error:  # of any part of the compiler, or of the tools that it starts
        cause = str(error).strip().partition("\n\n")[0]  # advice on debugging follows
        return f"{type(error).__name__}: {' '.join(cause.split())[:200]}"
    return "" if torch.allclose(compiled, (ones + 1).sin()) else "its result is wrong"


def _decodes() -> bool:
    """Whether a video of four frames, encoded here, is decoded to four frames."""
    import av  # noqa: PLC0415 - as above
    import numpy as np  # noqa: PLC0415

    buffer = BytesIO()
    with av.open(buffer, "w", format="mp4") as video:
        stream = video.add_stream("mpeg4", rate=25)
        stream.width = stream.height = 32
        for shade in range(4):
            pixels = np.full((32, 32, 3), 60 * shade, np.uint8)
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            video.mux(stream.encode(frame))
        video.mux(stream.encode())
    buffer.seek(0)
    with av.open(buffer, "r") as stored:
        return sum(1 for _ in stored.decode(video=0)) == 4


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:]))
