"""Whether the packages of an image work: each is imported, a clip is made, decoded and put through
a convolution.
"""

import os
import shutil
import subprocess
import sysconfig
import tempfile
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import polars
import pyarrow
import safetensors
import submitit
import torch
import torchvision
import webdataset

try:
    import decord
except ImportError:  # it has no wheel for aarch64
    decord = None

NUM_FRAMES, SIZE = 8, 64


def write_clip(path: Path) -> None:
    """Eight frames of H.264, each one grey, brighter from frame to frame."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(25))
        stream.width = stream.height = SIZE
        stream.pix_fmt = "yuv420p"
        for i in range(NUM_FRAMES):
            frame = av.VideoFrame.from_ndarray(
                np.full((SIZE, SIZE, 3), 16 + 24 * i, np.uint8), format="rgb24"
            )
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def brightness(path: Path) -> list[list[float]]:
    """The mean of each frame, as PyAV reads it, and as decord does where it is installed."""
    with av.open(str(path)) as container:
        by_av = [
            float(frame.to_ndarray(format="rgb24").mean()) for frame in container.decode(video=0)
        ]
    if decord is None:
        return [by_av]
    reader = decord.VideoReader(str(path), num_threads=1)
    by_decord = [float(reader[i].asnumpy().mean()) for i in range(len(reader))]
    return [by_av, by_decord]


def compiler() -> str:
    """Whether there is what Triton and torch.compile need on a GPU: a C compiler that finds
    Python's headers.
    """
    cc = os.environ.get("CC") or shutil.which("gcc") or shutil.which("clang")
    header = Path(sysconfig.get_paths()["include"]) / "Python.h"
    if not cc or not header.exists():
        missing = f"{header}" if cc else "gcc and clang"
        return f"- without torch.compile on a GPU: there is no {missing}"
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "probe.c"
        source.write_text("#include <Python.h>\nint probe(void) { return PY_MAJOR_VERSION; }\n")
        words = [cc, "-shared", "-fPIC", f"-I{header.parent}", str(source), "-o", f"{folder}/o.so"]
        subprocess.run(words, check=True)
    return f"compiler {Path(cc).name}"


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip.mp4"
        write_clip(path)
        means = brightness(path)
    wanted = [16 + 24 * i for i in range(NUM_FRAMES)]
    for found in means:
        assert np.allclose(found, wanted, atol=4), (
            f"a clip was decoded as {found}, made as {wanted}"
        )
    clip_BCTHW = torch.tensor(means[0]).view(1, 1, -1, 1, 1).expand(1, 3, -1, 8, 8)
    assert torch.nn.Conv3d(3, 2, 3)(clip_BCTHW).isfinite().all()
    modules = [torch, torchvision, webdataset, av, pyarrow, polars, safetensors, submitit]
    modules += [decord] if decord else []
    print(
        " ".join(f"{module.__name__} {module.__version__}" for module in modules),
        f"cuda {torch.version.cuda} rocm {torch.version.hip}",
        compiler(),
    )


if __name__ == "__main__":
    main()
