"""The size at which `kdbatch bench step` measures. No torch: mistakes are reported at once."""

from dataclasses import dataclass

from kdbatch.vocab.backbones import Backbone
from kdbatch.vocab.views import View

BENCH_STAGES = ("finetune", "distill", "pretrain")


@dataclass(frozen=True, kw_only=True)
class StepScale:
    """Networks, stages, and the shape of a batch; the defaults are those of the study."""

    backbones: tuple[Backbone, ...]
    stages: tuple[str, ...] = BENCH_STAGES
    batch_clips: int = 8
    num_frames: int = 16
    size_pixels: int = 112

    @property
    def view(self) -> View:
        return View(num_frames=self.num_frames, size_pixels=self.size_pixels)

    @property
    def title(self) -> str:
        return f"{self.batch_clips} x {self.num_frames} x {self.size_pixels} x {self.size_pixels}"
