"""Compiled layers, in a process of their own: the compiler starts threads, after which no other
test of a process could fork.

Its backend traces and compiles nothing: what a real one adds is fast code for the same graphs.
Prints how many graphs it was given, and of how many layers.
"""

import sys
import warnings
from collections.abc import Callable

import torch
from torch import Tensor

from kdbatch.run.models import Classifier
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


def train(kind: str) -> int:
    """Batches of two sizes, and two others in evaluation, in turn."""
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


if __name__ == "__main__":
    # The compiler looks at gradients of maps, which have none, and is warned.
    warnings.filterwarnings("ignore", message="The .grad attribute of a Tensor that is not a leaf")
    # Limits are as PyTorch ships them, but for one that many networks would meet, and a test
    # should.
    with torch.compiler.config.patch(accumulated_recompile_limit=8):
        num_layers = {"evaluate": evaluate, "train": train, "distill": distill}[sys.argv[1]](
            sys.argv[2]
        )
    print(len(TRACED), num_layers)  # noqa: T201
