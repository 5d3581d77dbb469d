"""Tries what other distributions add, once and on a CPU, against the contract of its kind.

The contracts are in docs/ARCHITECTURE.md, "Adding a thing".
"""

import dataclasses
from collections.abc import Callable, Collection, Iterator

import torch

from kdbatch.base.errors import UserError
from kdbatch.base.parse import parse
from kdbatch.run.distributed.process_group import SINGLE_PROCESS
from kdbatch.run.models import VideoBackbone, build_backbone
from kdbatch.run.models.multiply_adds import count_multiply_adds
from kdbatch.run.tasks import PRETEXTS
from kdbatch.run.tasks.pretext import Pretext
from kdbatch.run.train.losses import LOSSES
from kdbatch.run.train.weighting import WEIGHTINGS
from kdbatch.vocab.backbones import BACKBONE_SPECS, Backbone
from kdbatch.vocab.distillation.losses import LOSS_SPECS
from kdbatch.vocab.distillation.weightings import WEIGHTING_SPECS
from kdbatch.vocab.extensions.spec_table import SpecTable, distribution_of, place_of
from kdbatch.vocab.installed.tables import EXTENSIBLE
from kdbatch.vocab.tasks import TASKS

FRAMES, SIDE = 16, 112
TEACHERS, CLIPS, CLASSES = 3, 6, 5


def problems(distributions: Collection[str] = ()) -> Iterator[str]:
    """A line for each thing of these distributions, or of all, that does not keep its contract."""
    for kind, table in EXTENSIBLE.items():
        try:
            entries = table.entries
        except UserError as error:
            yield str(error)
            continue
        for name, entry in entries.items():
            is_asked = not distributions or distribution_of(entry) in distributions
            if is_asked and (problem := _problem(kind, table, name)):
                yield problem


def _problem(kind: str, table: SpecTable, name: str) -> str:
    place = f"{place_of(table.entries[name])}: {kind} {name}"
    try:
        TRIALS[kind](name)
    except UserError as error:
        return str(error)
    except _BrokenContractError as error:
        return f"{place}: {error}"
    except Exception as error:  # code of others: it may raise anything
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        return f"{place} fails when it is tried ({reason})"
    return ""


class _BrokenContractError(Exception):
    """Something is not as the contract has it."""


def _expect(is_kept: bool, found: str) -> None:
    if not is_kept:
        raise _BrokenContractError(found)


def _try_backbone(name: str) -> None:
    spec, network = BACKBONE_SPECS[name], build_backbone(Backbone(kind=name))
    _expect(isinstance(network, VideoBackbone), f"load builds a {type(network)}, no VideoBackbone")
    network.eval()
    unknown = {*spec.layers} - {*network.layer_names}
    _expect(not unknown, f"the spec has layers that the network lacks: {sorted(unknown)}")
    for module in (*network.stem_names, *network.unit_names, *network.attention_names):
        network.get_submodule(module)
    with torch.no_grad():
        map_BDTHW, _ = network.forward_maps(torch.rand(1, 3, FRAMES, SIDE, SIDE), spec.layers)
    shape, dim = tuple(map_BDTHW.shape), network.feature_dim
    is_map = len(shape) == 5 and shape[:2] == (1, dim)
    _expect(is_map, f"its last map is {shape} for one clip; write (1, {dim}, T, H, W)")
    gmac = count_multiply_adds(network) / 1e9
    is_known = abs(gmac - spec.gmac_per_clip) <= 0.1 * gmac
    _expect(is_known, f"gmac_per_clip is {spec.gmac_per_clip:g}; write {gmac:.3g}")
    build_backbone(Backbone(kind=name, width=0.5))


def _try_task(name: str) -> None:
    pretext = TASKS.loaded(name, PRETEXTS, where="task")
    _expect(isinstance(pretext, Pretext), f"load returns a {type(pretext)}; write a Pretext")
    task = TASKS[name].at_complexity(1)
    parse(TASKS[name].parameters, dataclasses.asdict(task), where=f"task {name}")
    _expect(task.name == name, f"the name of its parameters is {task.name}; write {name}")
    model = pretext.build_model(task, lambda: build_backbone(_SMALL), SINGLE_PROCESS)
    _expect(isinstance(model.get_submodule("backbone"), VideoBackbone), "its model has no backbone")
    chance = pretext.chance_accuracy(task, CLIPS)
    _expect(0 <= chance <= 1, f"chance_accuracy is {chance}; write a share")


def _try_weighting(name: str) -> None:
    weigh = WEIGHTING_SPECS.loaded(name, WEIGHTINGS, where="weighting")
    logit_MBK = torch.randn(TEACHERS, CLIPS, CLASSES)
    weight_MB = weigh(
        logit_MBK, teacher_MBK=logit_MBK, label_B=_LABELS, max_weight=0.6, group=SINGLE_PROCESS
    )
    shape = tuple(weight_MB.shape)
    _expect(shape == (TEACHERS, CLIPS), f"returns {shape} for {TEACHERS} teachers, {CLIPS} clips")
    total_B = weight_MB.double().sum(0)
    _expect(bool((total_B - 1).abs().max() < 1e-4), "the shares of a clip do not sum to 1")


def _try_loss(name: str) -> None:
    loss, spec = LOSS_SPECS.loaded(name, LOSSES, where="loss"), LOSS_SPECS[name]
    num_classes = max(spec.least_classes, CLASSES)
    own_BK = torch.randn(CLIPS, num_classes, requires_grad=True)
    wanted_BK = torch.randn(CLIPS, num_classes)
    loss_B = loss(own_BK, wanted_BK, _LABELS, terms=spec.terms, group=SINGLE_PROCESS)
    shape = tuple(loss_B.shape)
    _expect(shape == (CLIPS,), f"returns {shape} for {CLIPS} clips; write one loss a clip")
    (gradient_BK,) = torch.autograd.grad(loss_B.sum(), own_BK)
    _expect(bool(gradient_BK.isfinite().all()), "its gradient by the student is not finite")


_SMALL = Backbone(kind="r21d_10", width=0.05)
_LABELS = torch.arange(CLIPS) % CLASSES
TRIALS: dict[str, Callable[[str], None]] = {
    "backbone": _try_backbone,
    "task": _try_task,
    "weighting": _try_weighting,
    "loss": _try_loss,
}
