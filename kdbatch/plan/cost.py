"""What a run will cost, before anything ran: multiply-adds over an assumed speed. Good for comparing runs, rough for hours."""

from kdbatch.vocab.recipes import Compare, Finetune, Pretrain, Recipe, Retrieve

# Multiply-adds (10^9) of one 3x16x112x112 clip at width 1.
GMAC_PER_CLIP = {"r21d_10": 21.36, "r2plus1d_18": 40.52, "shufflenet_2x": 0.513}
ASSUMED_GMAC_PER_SECOND = 20_000.0  # one current GPU in bf16 at a tenth of its peak
FORWARD, FORWARD_BACKWARD = 1.0, 3.0


def estimate_hours(recipe: Recipe, *, num_videos: int) -> float:
    """GPU-hours that training on `num_videos` should take at the assumed speed."""
    if isinstance(recipe, Compare):
        return recipe.num_clips * 10.0 * 2 / ASSUMED_GMAC_PER_SECOND / 3600  # the networks are the parents'; 10 GMAC stands for either
    clips = num_videos * (recipe.evaluation.num_clips if isinstance(recipe, Retrieve) else recipe.schedule.epochs)
    passes = FORWARD_BACKWARD + 2 * FORWARD if isinstance(recipe, Pretrain) else FORWARD_BACKWARD
    if isinstance(recipe, Retrieve) or (isinstance(recipe, Finetune) and recipe.trained == "head"):
        passes = FORWARD
    view, backbone = recipe.view, recipe.backbone
    scale = backbone.width**2 * view.num_frames / 16 * (view.size_pixels / 112) ** 2
    return clips * passes * GMAC_PER_CLIP[backbone.kind] * scale / ASSUMED_GMAC_PER_SECOND / 3600
