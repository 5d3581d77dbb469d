"""Stochastic depth: in training, a branch of a residual block is left out of some clips."""

from torch import Tensor, nn


class StochasticDepth(nn.Module):
    """Huang et al. 2016, arXiv:1603.09382: zero for a share `p` of the clips, else 1 / (1 - p)
    times the input.

    The clips are chosen by a dropout of one number per clip, so that what is true of dropout is
    true here: ranks that train together draw the choice for the whole batch
    (run/distributed/sync_layers.py), and a key encoder chooses none.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(p)

    def forward(self, input: Tensor) -> Tensor:
        if not self.training:
            return input
        return input * self.dropout(input.new_ones(len(input), *[1] * (input.dim() - 1)))
