"""A max pool that also takes maps which are smaller than its window."""

import torch.nn.functional as F
from torch import Tensor, nn


class FittingMaxPool(nn.MaxPool3d):
    """A max pool of maps of any size: a window is cut down to a map that is smaller.

    Deep networks without padding are made for one size of clips; a short or small clip would leave
    nothing of their maps. Maps at least as large as the window are pooled as by PyTorch's own.
    """

    def forward(self, input: Tensor) -> Tensor:
        sizes = [int(size) for size in input.shape[2:]]
        window = [
            min(wanted, size + 2 * padding)
            for wanted, size, padding in zip(self.kernel_size, sizes, self.padding, strict=True)  # pyright: ignore[reportArgumentType]
        ]
        return F.max_pool3d(input, window, self.stride, self.padding)
