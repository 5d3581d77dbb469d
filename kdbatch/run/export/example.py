"""Predict the class of a video, or compute the features of a pretrained network.

    python load.py VIDEO (needs kdbatch[worker])

Without kdbatch, plain PyTorch computes the same from RGB pixels 0 to 255, as (B, 3, T, H, W):
torch.jit.load("model.ts")(clip). Shapes and classes are in config.json, and torchscript_sha256,
the output of `sha256sum model.ts`: PyTorch itself does not notice a damaged file.
"""

import sys
from pathlib import Path

from kdbatch.base.errors import UserError
from kdbatch.base.output.standard_streams import repair_streams
from kdbatch.base.output.visible_text import visible
from kdbatch.run.export import load_exported, read_clip


def main(path: str) -> None:
    model, config = load_exported(Path(__file__).parent)
    clip = config["clip"]
    clip_BCTHW = read_clip(
        Path(path), num_frames=clip["num_frames"], size_pixels=clip["size_pixels"]
    )
    output_K = model(clip_BCTHW)[0]
    if "classes" not in config:
        print(visible(" ".join(f"{value:.5g}" for value in output_K)))
        return
    probability_K = output_K.softmax(0)
    for value, k in zip(*probability_K.topk(min(5, len(probability_K)))):
        print(f"{value:.3f} {visible(config['classes'][k])}")


if __name__ == "__main__":
    repair_streams()
    try:
        if len(sys.argv) != 2:
            raise UserError("name one video: python load.py VIDEO")
        main(sys.argv[1])
    except UserError as error:
        print(f"load.py: {visible(str(error))}", file=sys.stderr)
        sys.exit(2)
