"""Runs compiled networks in a process of its own, because the compiler starts threads.

No later test of the same process could fork safely. Unless an action says otherwise, the backend
traces and compiles nothing: a real one only adds fast code for the same graphs. Prints what came of
each action as JSON: the number of traced graphs, what was logged, and an error if there was one.
"""

import copy
import io
import json
import logging
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import torch
from torch import Tensor, nn

from kdbatch.run.compilation import trial
from kdbatch.run.compilation.networks import compile_networks
from kdbatch.run.compilation.trial import compile_if_it_pays
from kdbatch.run.models import Classifier, VideoBackbone
from kdbatch.run.models.layers.folding import copy_to_infer
from kdbatch.run.models.layers.forms import set_form
from kdbatch.run.train.steps import distill_step, finetune_step
from support.networks import DISTILL, classifier, noise
from support.training import Noise, run

TRACED: list[torch.fx.GraphModule] = []


def trace(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> Callable[..., object]:
    TRACED.append(graph)
    return graph.forward


def shallow(kind: str) -> Classifier:
    """A network without the later stages, which have no layers of other kinds."""
    model = classifier(kind).eval()
    backbone = model.backbone
    kept = {"r21d_10": 5, "shufflenet_2x": 3}[kind]
    for name in backbone.layer_names[kept:]:
        delattr(backbone, name)
    backbone.layer_names = backbone.layer_names[:kept]
    with torch.no_grad():
        backbone.feature_dim = backbone(noise(1)).shape[1]
    return Classifier(backbone, num_classes=3)


def compiled(model: Classifier) -> Classifier:
    compile_networks([model], backend=trace)
    return model


def outcome(model: Classifier, clip_BCTHW: Tensor) -> list[Tensor]:
    """Logits, gradients and state after a training pass."""
    model.zero_grad()
    logit_BK = model(clip_BCTHW)
    logit_BK.square().mean().backward()
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    return [logit_BK.detach(), *gradients, *model.state_dict().values()]


@torch.no_grad()
def evaluate(kind: str) -> None:
    model, clip = shallow(kind).eval(), noise(2)
    expected, names = model(clip), list(model.state_dict())
    compiled(model)
    assert torch.allclose(model(clip), expected, atol=1e-6) and list(model.state_dict()) == names


@torch.no_grad()
def evaluate_fast(kind: str) -> None:
    """The same in the fast forms, up to the kernels that need a GPU."""
    model, clip = shallow(kind).eval(), noise(2)
    expected = model(clip)
    set_form(model, "fast")
    assert torch.allclose(compiled(model)(clip), expected, atol=1e-5)


def gradients(kind: str) -> None:
    """In double precision, with the backward pass traced as well."""
    plain = shallow(kind).double().train()
    model, clip_BCTHW = copy.deepcopy(plain), noise(4).double()
    compile_networks([model], backend="aot_eager")
    for found, expected in zip(outcome(model, clip_BCTHW), outcome(plain, clip_BCTHW), strict=True):
        assert torch.allclose(found, expected, rtol=1e-9, atol=1e-12)


def train(kind: str) -> None:
    """A whole network alternates training with batches of two sizes and evaluation with batches of
    two others.
    """
    model = compiled(classifier(kind))
    for _ in range(2):
        for size in (3, 2):
            finetune_step(
                model.train(), noise(size), torch.zeros(size, dtype=torch.long)
            ).loss.backward()
        for size in (4, 1):
            with torch.no_grad():
                model.eval()(noise(size))


def distill(kind: str) -> None:
    """Two teachers have one graph, and each its own weights."""
    student, *teachers = (compiled(shallow(kind)) for _ in range(3))
    clip_BCTHW = noise(2)
    for teacher in teachers:
        teacher.eval().requires_grad_(False)
    for _ in range(2):
        distill_step(
            student.train(), teachers, clip_BCTHW, torch.tensor([0, 1]), recipe=DISTILL
        ).loss.backward()
    with torch.no_grad():
        first, second = (teacher(clip_BCTHW) for teacher in teachers)
    assert not torch.allclose(first, second)


@torch.no_grad()
def infer(kind: str) -> None:
    """Copies that predict after each of three epochs, with the weights of that epoch."""
    model, clip_BCTHW = compiled(shallow(kind)), noise(2)
    for _ in range(3):
        for parameter in model.parameters():
            parameter.mul_(1.01)
        copied = copy_to_infer(model)
        expected = copied(clip_BCTHW)
        compile_networks([copied], backend=trace)
        assert torch.allclose(copied(clip_BCTHW), expected, atol=1e-6)


def a_run(kind: str) -> None:
    """A training run that compiles ends with the weights of one that does not, bit for bit."""
    trial.COMPILE_DEVICES, trial.SAVED_SHARE = frozenset({"cpu"}), 1e9
    trial.BACKEND = trace  # type: ignore[assignment]
    Noise.clips_per_batch = 3  # so that batches of 3 are tried, too
    with tempfile.TemporaryDirectory() as folder:
        found, _ = run(Path(folder, "compiled"), net=lambda: slow_until_compiled(kind))
        trial.COMPILE_DEVICES = frozenset[str]()
        expected, _ = run(Path(folder, "plain"), net=lambda: shallow(kind))
    for name, value in expected.items():
        assert torch.equal(found[name], value), name


def slow_until_compiled(kind: str) -> Classifier:
    """A network of which the trial finds that compiling pays."""
    model = shallow(kind)

    def wait(module: nn.Module, args: object) -> None:
        if model.backbone.compiled is None:
            time.sleep(0.3)

    model.register_forward_pre_hook(wait)
    return model


def failures(kind: str) -> None:
    """Run the trial where compiling fails, is slower, or is not worth its time."""
    model, clip_BCTHW = shallow(kind).eval(), noise(2)

    def fail(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> Callable[..., object]:
        raise OSError("no C compiler")

    def slow(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> Callable[..., object]:
        return lambda *args: (time.sleep(0.5), graph.forward(*args))[1]

    def tried(backend: object, passes_left: int) -> bool:
        trial.BACKEND = backend  # type: ignore[assignment]
        return compile_if_it_pays(
            [model], lambda: model(clip_BCTHW), device=CPU, passes_left=passes_left
        )

    for backend, passes_left in ((fail, 10**9), (slow, 10**9), (trace, 1)):
        assert not tried(backend, passes_left) and model.backbone.compiled is None
    with torch.no_grad():
        model(clip_BCTHW)


class Tiny(VideoBackbone):
    """A convolution, a batch norm and a ReLU, which a real compiler is done with in seconds."""

    def __init__(self) -> None:
        layers = {"stem": nn.Sequential(nn.Conv3d(3, 4, 3), nn.BatchNorm3d(4), nn.ReLU())}
        super().__init__(layers, stem=("stem",), units=(), feature_dim=4)


def real(_: str) -> None:
    """PyTorch's own compiler, within rounding; it keeps its code where the environment says."""
    torch.manual_seed(0)
    plain = Classifier(Tiny(), num_classes=3).train()
    model, clip_BCTHW = copy.deepcopy(plain), noise(2, size_pixels=8)
    compile_networks([model])
    for found, expected in zip(outcome(model, clip_BCTHW), outcome(plain, clip_BCTHW), strict=True):
        assert torch.allclose(found, expected, rtol=1e-4, atol=1e-5)


CPU = torch.device("cpu")
ACTIONS = {
    "evaluate": evaluate,
    "evaluate-fast": evaluate_fast,
    "gradients": gradients,
    "train": train,
    "distill": distill,
    "infer": infer,
    "run": a_run,
    "failures": failures,
    "real": real,
}


def come_of(action: str, kind: str) -> dict[str, object]:
    """Return the outcome of an action, whatever earlier ones of this process compiled and set."""
    TRACED.clear()
    torch.compiler.reset()
    log = io.StringIO()
    logging.basicConfig(level=logging.INFO, stream=log, force=True)
    settings = {
        name: getattr(trial, name) for name in ("COMPILE_DEVICES", "SAVED_SHARE", "BACKEND")
    }
    error = ""
    try:
        with mock.patch.multiple(trial, **settings):
            ACTIONS[action](kind)
    except Exception:  # of any kind: the test of this action shows it
        error = traceback.format_exc()
    return {"num_graphs": len(TRACED), "log": log.getvalue(), "error": error}


if __name__ == "__main__":
    # The compiler reads the gradients of intermediate tensors, which causes this warning.
    warnings.filterwarnings("ignore", message="The .grad attribute of a Tensor that is not a leaf")
    torch.set_num_threads(1)
    # PyTorch's default limits, except for one that is lowered so that this test can exceed it.
    with torch.compiler.config.patch(accumulated_recompile_limit=8):  # pyright: ignore[reportAttributeAccessIssue]  # added by install_config_module
        found = [come_of(*argument.split("/")) for argument in sys.argv[1:]]
    print(json.dumps(found))  # noqa: T201
