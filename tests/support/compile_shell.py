"""Runs compiled layers in a process of its own, because the compiler starts threads.

No later test of the same process could fork safely. The backend traces and compiles nothing: a real
one only adds fast code for the same graphs. Prints the numbers of traced graphs and of layers.
"""

import sys
import warnings
from collections.abc import Callable

import torch
from torch import Tensor

from kdbatch.run.models import Classifier
from kdbatch.run.models.layers.forms import set_form
from kdbatch.run.train.optim import compile_layers
from kdbatch.run.train.steps import distill_step, finetune_step
from support.networks import DISTILL, classifier, noise

TRACED: list[torch.fx.GraphModule] = []


def compiled(model: Classifier) -> Classifier:
    def trace(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> Callable[..., object]:
        TRACED.append(graph)
        return graph.forward

    compile_layers(model, backend=trace)
    return model


@torch.no_grad()
def evaluate(kind: str) -> int:
    model, clip = classifier(kind).eval(), noise(2)
    expected, names = model(clip), list(model.state_dict())
    compiled(model)
    assert torch.allclose(model(clip), expected, atol=1e-6) and list(model.state_dict()) == names
    return len(model.backbone.layer_names)


def evaluate_fast(kind: str) -> int:
    """The same in the fast forms, up to the kernels that need a GPU."""
    model, clip = classifier(kind).eval(), noise(2)
    with torch.no_grad():
        expected = model(clip)
        set_form(model, "fast")
        assert torch.allclose(compiled(model)(clip), expected, atol=1e-5)
    return len(model.backbone.layer_names)


def train(kind: str) -> int:
    """Alternates training with batches of two sizes and evaluation with batches of two others."""
    model = compiled(classifier(kind))
    for _ in range(2):
        for size in (3, 2):
            finetune_step(
                model.train(), noise(size), torch.zeros(size, dtype=torch.long)
            ).loss.backward()
        for size in (4, 1):
            with torch.no_grad():
                model.eval()(noise(size))
    return len(model.backbone.layer_names)


def distill(kind: str) -> int:
    student, *teachers = (compiled(classifier(kind)) for _ in range(3))
    for teacher in teachers:
        teacher.eval().requires_grad_(False)
    for _ in range(2):
        distill_step(
            student.train(), teachers, noise(2), torch.tensor([0, 1]), recipe=DISTILL
        ).loss.backward()
    return len(student.backbone.layer_names)


ACTIONS = {
    "evaluate": evaluate,
    "evaluate-fast": evaluate_fast,
    "train": train,
    "distill": distill,
}

if __name__ == "__main__":
    # The compiler reads the gradients of intermediate tensors, which causes this warning.
    warnings.filterwarnings("ignore", message="The .grad attribute of a Tensor that is not a leaf")
    # PyTorch's default limits, except for one that is lowered so that this test can exceed it.
    with torch.compiler.config.patch(accumulated_recompile_limit=8):  # pyright: ignore[reportAttributeAccessIssue]  # added by install_config_module
        num_layers = ACTIONS[sys.argv[1]](sys.argv[2])
    print(len(TRACED), num_layers)  # noqa: T201
