"""Interprets Triton's kernels, which has to be chosen before Triton is imported, or compiles them.

Prints the largest deviation of the fused operator from PyTorch's own convolution after a shuffle,
of outputs and gradients in double precision, and of a unit that uses it.
"""

import copy
import sys

import torch
import torch.nn.functional as F
import triton
import triton.language as tl
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from kdbatch.run.models.layers import depthwise, forms
from kdbatch.run.models.shufflenet import GROUPS, ShuffleUnit, shuffle_channels


def operator_deviation(shape: tuple[int, ...], *, stride: int) -> float:
    x = torch.randn(shape, dtype=torch.float64).to(memory_format=torch.channels_last_3d)
    weight = torch.randn(shape[1], 1, 3, 3, 3, dtype=torch.float64)
    tensors = [[t.clone().requires_grad_() for t in (x, weight)] for _ in range(2)]
    (x1, w1), (x2, w2) = tensors
    expected = F.conv3d(shuffle_channels(x1), w1, stride=stride, padding=1, groups=shape[1])
    found = depthwise.shuffled_depthwise(x2.movedim(1, -1), w2.flatten(1), stride, GROUPS).movedim(
        -1, 1
    )
    assert found.is_contiguous(memory_format=torch.channels_last_3d)
    gradient = torch.randn_like(expected)
    for out in (expected, found):
        (out * gradient).sum().backward()
    pairs = [(expected, found), (x1.grad, x2.grad), (w1.grad, w2.grad)]
    return max(float((a - b).detach().abs().max()) for a, b in pairs if a is not None)


def unit_deviation() -> float:
    plain = ShuffleUnit(12, 24, halve=True).double()
    fast = copy.deepcopy(plain)
    forms.set_form(plain, "plain")
    clip = torch.randn(2, 12, 2, 3, 3, dtype=torch.float64)
    clip = clip.to(memory_format=torch.channels_last_3d)
    forms.FAST_DEVICES["depthwise"] = frozenset({"cpu"})
    return float((plain(clip) - fast(clip)).detach().abs().max())


def compile_kernels() -> None:
    """Compile the kernels for compute capability 9.0, in bfloat16, for both strides."""
    kernels = (
        depthwise._forward_kernel,
        depthwise._input_gradient_kernel,
        depthwise._weight_gradient_kernel,
    )
    constants = {"GROUPS": 3, "DTYPE": tl.float32, "BLOCK_N": 32, "BLOCK_C": 64, "CHUNK_N": 2048}
    for kernel in kernels:
        for stride in (1, 2):
            values = {n: v for n, v in constants.items() if n in kernel.arg_names}
            values["STRIDE"] = stride
            types = dict.fromkeys(kernel.arg_names[:3], "*bf16")
            types |= dict.fromkeys(kernel.arg_names[3:], "i32")
            types |= dict.fromkeys(values, "constexpr")
            types |= {"weight": "*fp32"} if "weight" in types else {"out": "*fp32"}
            source = ASTSource(fn=kernel, signature=types, constexprs=values)
            made = triton.compile(source, target=GPUTarget("cuda", 90, 32))
            print(*(name for name in made.asm if name == "cubin"))  # noqa: T201


def interpret_kernels() -> None:
    torch.manual_seed(0)
    # The interpreter takes a second for a few hundred operations on tiles.
    depthwise.BLOCK_N, depthwise.BLOCK_C, depthwise.CHUNK_N = 16, 16, 32
    print(operator_deviation((2, 12, 3, 2, 3), stride=1))  # noqa: T201
    print(operator_deviation((1, 18, 2, 5, 4), stride=2))  # noqa: T201
    print(unit_deviation())  # noqa: T201


if __name__ == "__main__":
    {"interpret": interpret_kernels, "compile": compile_kernels}[sys.argv[1]]()
