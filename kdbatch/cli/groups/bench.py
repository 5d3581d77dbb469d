"""The commands that measure speed on this machine."""

from typing import Annotated

from kdbatch.base.reading.field_facts import Limits, SameAs
from kdbatch.cli.command import command
from kdbatch.vocab.backbones import Backbone

RowSeconds = Annotated[
    float, Limits("seconds", least=0.001, most=86_400, advice=", as in --seconds=2")
]
Width = Annotated[float, SameAs(Backbone, "width")]
BatchClips = Annotated[int, Limits("clips", least=4, most=100_000)]


class BenchCommands:
    """`kdbatch bench`."""

    @command
    def bench_data(
        self, *, videos: str = "", seconds: RowSeconds = 2.0, json: bool = False
    ) -> None:
        """Measure training clips per CPU-second, and baselines.

        --videos is a folder of original videos; without it a few toy videos are made, whose ratios
        mean little. --seconds is how long each row is measured, five times. --json prints the rows
        for a program.
        """
        from kdbatch.cli.bench import measure_data

        measure_data(videos, seconds=seconds, json=json)

    @command
    def bench_step(
        self,
        *,
        backbone: str = "",
        stage: str = "",
        width: Width = 1.0,
        batch: BatchClips = 8,
        frames: Annotated[int, Limits("frames", least=2, most=10_000)] = 16,
        pixels: Annotated[int, Limits("pixels", least=16, most=4096)] = 112,
        seconds: RowSeconds = 2.0,
        limit: Annotated[float, Limits("seconds", least=1, most=86_400)] = 120.0,
        compiled: bool = False,
        json: bool = False,
    ) -> None:
        """Measure training steps, their parts, and a baseline loop.

        --backbone is r21d_10, r2plus1d_18, shufflenet_2x, r3d_18, c3d, mobilenet3d, squeezenet3d or
        swin3d_t; without it r21d_10 and shufflenet_2x are measured. --stage is finetune, distill
        (two teachers) or pretrain (RSPNet), or all without it; --width, --batch, --frames and
        --pixels make it small enough for a CPU. --seconds is how long each row is measured, up to
        five times. The command ends after --limit seconds: on a CPU it takes smaller clips and
        fewer of them for that. With --compiled it compares compiled networks instead of feeds, and
        their compilation may take longer. --json prints a line of JSON for each row.
        """
        from kdbatch.cli.bench import measure_step

        measure_step(
            backbone,
            stage,
            width=width,
            shape=(batch, frames, pixels),
            seconds=seconds,
            limit=limit,
            compiled=compiled,
            json=json,
        )

    @command
    def bench_cka(
        self,
        *,
        backbone: str = "r2plus1d_18",
        width: Width = 1.0,
        layers: str = "24",
        clips: BatchClips = 64,
        frames: Annotated[int, Limits("frames", least=1, most=10_000)] = 8,
        pixels: Annotated[int, Limits("pixels", least=1, most=4096)] = 32,
        json: bool = False,
    ) -> None:
        """Measure a CKA map, its parts, and other tools.

        The other tools are torch_cka and pytorch_cka. --backbone is one of those of `kdbatch bench
        step`. --layers is a number of convolutions, batch norms and ReLUs of the network, evenly
        spread, or a layer set: res, act or all, without the other tools. One batch has --clips
        clips of --frames frames, --pixels high and wide. --json prints the rows for a program.
        """
        from kdbatch.cli.bench import measure_cka

        measure_cka(
            backbone,
            width=width,
            layers=layers,
            clips=clips,
            frames=frames,
            pixels=pixels,
            json=json,
        )
