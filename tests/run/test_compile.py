"""Compiled layers, by a backend that traces and compiles nothing: what a real one adds is fast code for the same graphs."""

from collections.abc import Iterator

import pytest
import torch
from networks import classifier, noise
from torch import Tensor

from kdbatch.run.learn import can_compile, compile_layers
from kdbatch.run.models import BACKBONES, Classifier
from kdbatch.run.step import distill_step, finetune_step
from kdbatch.run.team import Team
from kdbatch.vocab.backbones import Backbone
from kdbatch.vocab.recipes import Distill, Evaluation, Schedule
from kdbatch.vocab.shards import Subset
from kdbatch.vocab.views import View

DATA = Subset(dataset="ucf101", split="train01", num_places=0, num_classes=3, digest="x")
RECIPE = Distill(
    backbone=Backbone(kind="shufflenet_2x"),
    data=DATA,
    view=View(),
    schedule=Schedule(epochs=1, batch_clips=4, lr=0.1),
    evaluation=Evaluation(test=DATA),
    weighting="equal",
)

# The compiler looks at gradients of maps, which have none, and is warned.
pytestmark = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")

Graphs = list[torch.fx.GraphModule]


@pytest.fixture
def traced() -> Iterator[Graphs]:
    """The graphs that `trace` was given. Limits are as PyTorch ships them, but for one that many networks would meet, and a test should."""
    torch.compiler.reset()
    with torch.compiler.config.patch(accumulated_recompile_limit=8):
        graphs: Graphs = []
        yield graphs
    torch.compiler.reset()


def _compiled(model: Classifier, traced: Graphs) -> Classifier:
    def trace(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> object:
        traced.append(graph)
        return graph.forward

    compile_layers(model, backend=trace)
    return model


@torch.no_grad()
@pytest.mark.parametrize("kind", ["r21d_10", "shufflenet_2x"])
def test_compiled_layers_compute_what_they_did_and_keep_their_names(kind: str, traced: Graphs) -> None:
    """No layer may hold what the compiler cannot follow."""
    model, clip = classifier(kind).eval(), noise(2)
    expected, names = model(clip), list(model.state_dict())
    _compiled(model, traced)
    assert torch.allclose(model(clip), expected, atol=1e-6) and list(model.state_dict()) == names
    assert len(traced) == len(model.backbone.layer_names)  # one whole graph each


@pytest.mark.slow
@pytest.mark.parametrize("kind", BACKBONES)
def test_a_layer_is_compiled_once_for_each_size_of_batch_in_training_and_in_evaluation(kind: str, traced: Graphs) -> None:
    model = _compiled(classifier(kind), traced)
    for _ in range(2):
        for size in (3, 2):
            finetune_step(model.train(), noise(size), torch.zeros(size, dtype=torch.long)).loss.backward()
        for size in (4, 1):
            with torch.no_grad():
                model.eval()(noise(size))
    assert len(traced) == 4 * len(model.backbone.layer_names)


def test_a_student_and_its_teachers_are_compiled_side_by_side(traced: Graphs) -> None:
    student, *teachers = (_compiled(classifier("shufflenet_2x"), traced) for _ in range(3))
    for teacher in teachers:
        teacher.eval().requires_grad_(False)
    for _ in range(2):
        distill_step(student.train(), teachers, noise(2), torch.tensor([0, 1]), recipe=RECIPE).loss.backward()
    assert len(traced) == 3 * len(student.backbone.layer_names)


def test_layers_are_compiled_on_one_gpu_alone() -> None:
    cpu, gpu = torch.device("cpu"), torch.device("cuda")
    teams = [Team(device=gpu), Team(device=gpu, world_size=2), Team(device=cpu)]
    assert [can_compile(team) for team in teams] == [True, False, False]
