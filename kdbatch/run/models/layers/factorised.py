"""The layers of factorised 3D convolutions, with a fast form for channels-last memory.

Axes: B clips, C channels, T frames, H x W pixels, P = H * W. In the fast form a 1 x h x w
convolution is a 2D convolution of B * T frames, and a t x 1 x 1 convolution one over T and P. Both
read and write channels-last maps through views, without a copy, and use the 2D kernels of cuDNN,
which are faster than its 3D ones. The sums are those of the 3D convolutions.

Tensor cores take channels in eights. Where the number between the two convolutions is no multiple
of 8 (83 in the stem of R(2+1)D), cuDNN copies the map into a padded one at every call, forward and
backward. In the fast form the weights are padded with zeros instead, which are a hundredth of the
map's size: the map has a few more channels then, all of them zero, from the first convolution to
the second.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdbatch.run.models.layers.forms import TwoForms

CHANNEL_MULTIPLE = 8  # of 16-bit numbers, for tensor cores
CLIP_CHANNELS = 4  # cuDNN has kernels for a first layer of 4 channels


class SpatialConv(TwoForms, nn.Conv3d):
    """A 1 x h x w convolution. In the fast form its output may have more channels, which are zero.

    `pads_output` says that the layers after it accept these.
    """

    pads_output = False

    def forward(self, input: Tensor) -> Tensor:
        if not self.is_fast("planes", input):
            return super().forward(input)
        num_in, num_out = input.shape[1], self.out_channels
        if self.is_fast("padding", input):
            num_out = _rounded_up(num_out) if self.pads_output else num_out
            num_in = CLIP_CHANNELS if num_in == 3 else num_in
        x_BCTHW = _channels_last(input, num_in)
        out_NCHW = F.conv2d(
            x_BCTHW.transpose(1, 2).flatten(0, 1),
            _padded(self.weight, num_out, num_in).squeeze(2),
            None if self.bias is None else F.pad(self.bias, (0, num_out - self.out_channels)),
            stride=self.stride[1:],
            padding=self.padding[1:],  # pyright: ignore[reportArgumentType] (numbers here)
        )
        num_clips, num_frames = input.shape[0], input.shape[2]
        return out_NCHW.unflatten(0, (num_clips, num_frames)).transpose(1, 2)


class TemporalConv(TwoForms, nn.Conv3d):
    """A t x 1 x 1 convolution. Its input may have more channels than its weights, all zero.

    On a CPU, too, it is computed as a 2D convolution over frames and pixels where t is above 1. The
    sum is the same, bit for bit where both use the same kernel. With one thread and fewer than 16
    clips PyTorch takes a slow path for a 3D convolution whose kernel is one pixel wide
    (aten/src/ATen/native/Convolution.cpp: use_mkldnn); a whole training step of 8 clips then takes
    twice the time. Where t is 1 this is not needed: that one has a stride here, so it takes the
    fast path anyhow, and weights of 1 x 1 would be taken for channels-last ones.
    """

    def forward(self, input: Tensor) -> Tensor:
        on_cpu = input.device.type == "cpu" and self.kernel_size[0] > 1 and self.form != "plain"
        if not on_cpu and not self.is_fast("planes", input):
            return super().forward(input)
        (stride, _, _), padding = self.stride, self.padding[0]
        assert isinstance(padding, int)
        out_BCTP = F.conv2d(
            input.flatten(3),
            _padded(self.weight, self.out_channels, input.shape[1]).flatten(3),
            self.bias,
            stride=(stride, 1),
            padding=(padding, 0),
        )
        return out_BCTP.unflatten(3, input.shape[3:])


class BatchNorm(nn.BatchNorm3d):
    """A batch norm whose input may have more channels than it, all zero; they stay zero."""

    def forward(self, input: Tensor) -> Tensor:
        num_zero = input.shape[1] - self.num_features
        if not num_zero:
            return super().forward(input)
        assert self.running_mean is not None and self.running_var is not None
        assert self.num_batches_tracked is not None and self.momentum is not None
        more = (0, num_zero)
        mean_C, var_C = F.pad(self.running_mean, more), F.pad(self.running_var, more)
        out = F.batch_norm(
            input,
            mean_C,
            var_C,
            F.pad(self.weight, more),
            F.pad(self.bias, more),
            training=self.training,
            momentum=self.momentum,
            eps=self.eps,
        )
        if self.training:
            with torch.no_grad():
                self.num_batches_tracked.add_(1)
                self.running_mean.copy_(mean_C[: self.num_features])
                self.running_var.copy_(var_C[: self.num_features])
        return out


def _rounded_up(num_channels: int) -> int:
    return -(-num_channels // CHANNEL_MULTIPLE) * CHANNEL_MULTIPLE


def _padded(weight_OCTHW: Tensor, num_out: int, num_in: int) -> Tensor:
    """Weights with zeros for further channels; themselves where there are none."""
    more_out, more_in = num_out - weight_OCTHW.shape[0], num_in - weight_OCTHW.shape[1]
    if not more_out and not more_in:
        return weight_OCTHW
    return F.pad(weight_OCTHW, (0, 0, 0, 0, 0, 0, 0, more_in, 0, more_out))


def _channels_last(x_BCTHW: Tensor, num_channels: int) -> Tensor:
    """A map in channels-last memory, with zeros for further channels."""
    if x_BCTHW.shape[1] == num_channels:
        return x_BCTHW.contiguous(memory_format=torch.channels_last_3d)
    device = x_BCTHW.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x_BCTHW.dtype
    shape = (x_BCTHW.shape[0], num_channels, *x_BCTHW.shape[2:])
    # One copy casts, pads and moves the channels.
    padded = torch.empty(
        shape, dtype=dtype, device=x_BCTHW.device, memory_format=torch.channels_last_3d
    ).zero_()
    padded[:, : x_BCTHW.shape[1]] = x_BCTHW
    return padded
