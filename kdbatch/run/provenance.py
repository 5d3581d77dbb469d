"""The provenance of a result: versions, machine, lock file; never part of a run's id."""

import platform
from pathlib import Path

import torch

import kdbatch
from kdbatch.base.commit import find_commit
from kdbatch.base.digests.sha256 import sha256_of
from kdbatch.vocab.done import Provenance

_ROOT = Path(kdbatch.__file__).parent.parent
# The lock file of the checkout that kdbatch runs from, or of the image that it is installed in.
_LOCKS = (_ROOT / "container" / "requirements.lock", Path("/opt/kdbatch/requirements.lock"))
_BASE = Path("/opt/kdbatch/base.txt")  # of the image


def provenance(device: torch.device, *, image_sha256: str) -> Provenance:
    """Return the provenance of this process; only the launcher of an image knows its hash."""
    lock = next((path for path in _LOCKS if path.exists()), None)
    is_gpu = device.type == "cuda"
    return Provenance(
        kdbatch_version=kdbatch.__version__,
        git_sha=find_commit(),
        lock_sha256=sha256_of(lock) if lock else "",
        image_sha256=image_sha256,
        image_base=_BASE.read_text(encoding="utf-8").strip() if _BASE.is_file() else "",
        python_version=platform.python_version(),
        torch_version=torch.__version__,
        cuda_version=torch.version.cuda or "",
        rocm_version=torch.version.hip or "",
        host=platform.node(),
        device=torch.cuda.get_device_name(device) if is_gpu else f"cpu ({platform.machine()})",
    )
