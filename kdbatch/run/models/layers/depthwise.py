"""A channel shuffle and a depthwise 3 x 3 x 3 convolution as one operator, in Triton.

Axes: B clips, C channels, T frames, H x W pixels, K = 27 taps of the kernel, N = B * T * H * W
positions of the output. Maps are channels-last: (B, T, H, W, C) in memory. The kernels are proved
against PyTorch's own convolution by Triton's interpreter and compiled for sm_90, but not yet
measured on a GPU.

cuDNN's kernels for depthwise 3D convolutions are slow. These read each number of a map from memory
once, the other 26 times from a cache, and sum in single precision, or in double precision for maps
of doubles. The shuffle takes no pass over memory: the channels that a tile reads lie next to each
other, and it writes each to its place after the shuffle.

Before the shuffle, channel u = g * C / G + j is channel j of group g of G; after it, that is
channel p = j * G + g.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

NUM_TAPS = 27
BLOCK_N, BLOCK_C = 32, 64
CHUNK_N = 2048  # positions whose products one program sums for the gradient of the weights


@triton.jit
def _forward_kernel(
    x, weight, out,
    C, T, H, W, OT, OH, OW, N,
    STRIDE: tl.constexpr, GROUPS: tl.constexpr, DTYPE: tl.constexpr,
    BLOCK_N: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    n = tl.program_id(0) * BLOCK_N + tl.arange(0, BLOCK_N)
    u = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    p = (u % (C // GROUPS)) * GROUPS + u // (C // GROUPS)
    ow, oh, ot, b = n % OW, (n // OW) % OH, (n // (OW * OH)) % OT, n // (OW * OH * OT)
    sums = tl.zeros((BLOCK_N, BLOCK_C), dtype=DTYPE)
    for tap in range(27):
        t = ot * STRIDE + tap // 9 - 1
        h = oh * STRIDE + (tap // 3) % 3 - 1
        w = ow * STRIDE + tap % 3 - 1
        inside = (n < N) & (t >= 0) & (t < T) & (h >= 0) & (h < H) & (w >= 0) & (w < W)
        row = ((b.to(tl.int64) * T + t) * H + h) * W + w
        mask = inside[:, None] & (u < C)[None, :]
        values = tl.load(x + row[:, None] * C + u[None, :], mask=mask, other=0.0)
        factor = tl.load(weight + p * 27 + tap, mask=u < C, other=0.0)
        sums += values.to(DTYPE) * factor.to(DTYPE)[None, :]
    place = n.to(tl.int64)[:, None] * C + p[None, :]
    tl.store(out + place, sums, mask=(n < N)[:, None] & (u < C)[None, :])


@triton.jit
def _input_gradient_kernel(
    gradient, weight, out,
    C, T, H, W, OT, OH, OW, N,
    STRIDE: tl.constexpr, GROUPS: tl.constexpr, DTYPE: tl.constexpr,
    BLOCK_N: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    n = tl.program_id(0) * BLOCK_N + tl.arange(0, BLOCK_N)  # positions of the input
    p = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    u = (p % GROUPS) * (C // GROUPS) + p // GROUPS
    w, h, t, b = n % W, (n // W) % H, (n // (W * H)) % T, n // (W * H * T)
    sums = tl.zeros((BLOCK_N, BLOCK_C), dtype=DTYPE)
    for tap in range(27):
        at, ah, aw = t + 1 - tap // 9, h + 1 - (tap // 3) % 3, w + 1 - tap % 3
        ot, oh, ow = at // STRIDE, ah // STRIDE, aw // STRIDE
        inside = (n < N) & (at >= 0) & (ah >= 0) & (aw >= 0) & (ot < OT) & (oh < OH) & (ow < OW)
        inside = inside & (at % STRIDE == 0) & (ah % STRIDE == 0) & (aw % STRIDE == 0)
        row = ((b.to(tl.int64) * OT + ot) * OH + oh) * OW + ow
        mask = inside[:, None] & (p < C)[None, :]
        values = tl.load(gradient + row[:, None] * C + p[None, :], mask=mask, other=0.0)
        factor = tl.load(weight + p * 27 + tap, mask=p < C, other=0.0)
        sums += values.to(DTYPE) * factor.to(DTYPE)[None, :]
    place = n.to(tl.int64)[:, None] * C + u[None, :]
    tl.store(out + place, sums, mask=(n < N)[:, None] & (p < C)[None, :])


@triton.jit
def _weight_gradient_kernel(
    gradient, x, out,
    C, T, H, W, OT, OH, OW, N,
    STRIDE: tl.constexpr, GROUPS: tl.constexpr, DTYPE: tl.constexpr,
    BLOCK_N: tl.constexpr, BLOCK_C: tl.constexpr, CHUNK_N: tl.constexpr,
):  # fmt: skip
    # Programs of one chunk and all taps are neighbours: they read the same part of both maps.
    tap, chunk = tl.program_id(0), tl.program_id(2)
    u = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    p = (u % (C // GROUPS)) * GROUPS + u // (C // GROUPS)
    sums = tl.zeros((BLOCK_C,), dtype=DTYPE)
    for start in range(0, CHUNK_N, BLOCK_N):
        n = chunk * CHUNK_N + start + tl.arange(0, BLOCK_N)
        ow, oh, ot, b = n % OW, (n // OW) % OH, (n // (OW * OH)) % OT, n // (OW * OH * OT)
        t = ot * STRIDE + tap // 9 - 1
        h = oh * STRIDE + (tap // 3) % 3 - 1
        w = ow * STRIDE + tap % 3 - 1
        inside = (n < N) & (t >= 0) & (t < T) & (h >= 0) & (h < H) & (w >= 0) & (w < W)
        row = ((b.to(tl.int64) * T + t) * H + h) * W + w
        mask = inside[:, None] & (u < C)[None, :]
        values = tl.load(x + row[:, None] * C + u[None, :], mask=mask, other=0.0)
        place = n.to(tl.int64)[:, None] * C + p[None, :]
        factors = tl.load(gradient + place, mask=mask, other=0.0)
        sums += tl.sum(values.to(DTYPE) * factors.to(DTYPE), axis=0)
    tl.store(out + (chunk * C + p) * 27 + tap, sums, mask=u < C)


@torch.library.custom_op("kdbatch::shuffled_depthwise", mutates_args=())
def shuffled_depthwise(x_BTHWC: Tensor, weight_CK: Tensor, stride: int, groups: int) -> Tensor:
    """Shuffle the channels between `groups`, then convolve each with its own 3 x 3 x 3 kernel.

    The border is 1 zero wide. `weight_CK` is in the order of channels after the shuffle.
    """
    x_BTHWC, weight_CK = x_BTHWC.contiguous(), weight_CK.contiguous()
    out = x_BTHWC.new_empty(_output_shape(x_BTHWC.shape, stride))
    num_out = out[..., 0].numel()
    grid = (triton.cdiv(num_out, BLOCK_N), triton.cdiv(out.shape[-1], BLOCK_C))
    constants = _constants(x_BTHWC, stride, groups)
    sizes = _sizes(x_BTHWC, out)
    _launch(_forward_kernel, grid, x_BTHWC, weight_CK, out, *sizes, num_out, **constants)
    return out


@torch.library.custom_op("kdbatch::shuffled_depthwise_backward", mutates_args=())
def shuffled_depthwise_backward(
    gradient_BTHWC: Tensor, x_BTHWC: Tensor, weight_CK: Tensor, stride: int, groups: int
) -> tuple[Tensor, Tensor]:
    """The gradients by the input and by the weights, given that by the output."""
    gradient_BTHWC, x_BTHWC = gradient_BTHWC.contiguous(), x_BTHWC.contiguous()
    weight_CK = weight_CK.contiguous()
    sizes, constants = _sizes(x_BTHWC, gradient_BTHWC), _constants(x_BTHWC, stride, groups)
    num_blocks = triton.cdiv(x_BTHWC.shape[-1], BLOCK_C)
    by_input = torch.empty_like(x_BTHWC)
    num_in, num_out = x_BTHWC[..., 0].numel(), gradient_BTHWC[..., 0].numel()
    num_chunks = triton.cdiv(num_out, CHUNK_N)
    dtype = torch.float64 if x_BTHWC.dtype == torch.float64 else torch.float32
    parts = weight_CK.new_empty((num_chunks, *weight_CK.shape), dtype=dtype)
    maps, grid = (gradient_BTHWC, weight_CK, by_input), (triton.cdiv(num_in, BLOCK_N), num_blocks)
    _launch(_input_gradient_kernel, grid, *maps, *sizes, num_in, **constants)
    maps, grid = (gradient_BTHWC, x_BTHWC, parts), (NUM_TAPS, num_blocks, num_chunks)
    constants["CHUNK_N"] = CHUNK_N
    _launch(_weight_gradient_kernel, grid, *maps, *sizes, num_out, **constants)
    return by_input, parts.sum(0).to(weight_CK.dtype)


def _launch(kernel: Any, grid: tuple[int, ...], *arguments: Any, **constants: Any) -> None:
    kernel[grid](*arguments, **constants)


def _output_shape(shape: torch.Size, stride: int) -> list[int]:
    return [shape[0], *((size - 1) // stride + 1 for size in shape[1:4]), shape[4]]


def _sizes(x_BTHWC: Tensor, out_BTHWC: Tensor) -> tuple[int, ...]:
    return (x_BTHWC.shape[-1], *x_BTHWC.shape[1:4], *out_BTHWC.shape[1:4])


def _constants(x: Tensor, stride: int, groups: int) -> dict[str, Any]:
    dtype = tl.float64 if x.dtype == torch.float64 else tl.float32
    return {
        "STRIDE": stride,
        "GROUPS": groups,
        "DTYPE": dtype,
        "BLOCK_N": BLOCK_N,
        "BLOCK_C": BLOCK_C,
    }


def _fake(x: Tensor, weight: Tensor, stride: int, groups: int) -> Tensor:
    return x.new_empty(_output_shape(x.shape, stride))


def _fake_backward(
    gradient: Tensor, x: Tensor, weight: Tensor, stride: int, groups: int
) -> tuple[Tensor, Tensor]:
    return x.new_empty(x.shape), weight.new_empty(weight.shape)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, weight, ctx.stride, ctx.groups = inputs
    ctx.save_for_backward(x, weight)


def _backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None, None]:
    by_input, by_weight = shuffled_depthwise_backward(
        gradient, *ctx.saved_tensors, ctx.stride, ctx.groups
    )
    return by_input, by_weight, None, None


shuffled_depthwise.register_fake(_fake)
shuffled_depthwise_backward.register_fake(_fake_backward)
shuffled_depthwise.register_autograd(_backward, setup_context=_keep)
