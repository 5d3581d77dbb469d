"""Stands in for packages that a bare machine with a GPU lacks and that speed does not depend on."""

import importlib.util
import sys
from types import ModuleType

_AV = [f"av.video.{name}" for name in ("codeccontext", "format", "frame", "plane", "reformatter")]
_AV += ["av", "av.error", "av.packet", "av.video", "av.container", "av.stream", "av.video.stream"]
_NAMES = [*_AV, "safetensors", "safetensors.torch"]


class MissingPackage(ModuleType):
    """Stands for a package that is not installed: it can be imported, and its names are classes
    that nothing makes objects of.
    """

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.__path__ = []  # so that its modules can be imported, too
        self.__version__ = "17.0.0"

    def __getattr__(self, name: str) -> type:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (Exception,), {})


def stand_in_for_videos_and_weights() -> list[str]:
    """Let modules be imported that need PyAV and safetensors; returns those that are missing."""
    packages = sorted({name.partition(".")[0] for name in _NAMES})
    missing = [package for package in packages if importlib.util.find_spec(package) is None]
    for name in _NAMES:
        if name.partition(".")[0] in missing:
            sys.modules[name] = MissingPackage(name)
    return missing
