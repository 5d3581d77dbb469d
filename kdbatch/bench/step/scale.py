"""The size at which `kdbatch bench step` measures. No torch: mistakes are reported at once."""

from dataclasses import dataclass

from kdbatch.base.errors import UserError
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

    def __post_init__(self) -> None:
        if self.batch_clips < 4 or self.num_frames < 2 or self.size_pixels < 16:
            raise UserError(
                "--batch, --frames, --pixels: write at least 4 clips of 2 frames and 16 pixels."
            )

    @property
    def view(self) -> View:
        return View(num_frames=self.num_frames, size_pixels=self.size_pixels)

    @property
    def title(self) -> str:
        return f"{self.batch_clips} x {self.num_frames} x {self.size_pixels} x {self.size_pixels}"
