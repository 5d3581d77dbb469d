"""The losses of distillation: their names, their terms, and the targets that they are defined for.

The functions are in run/train/losses.py and run/train/feature_match.py.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Annotated

from kdbatch.base.errors import UserError
from kdbatch.base.lookup import did_you_mean, lookup
from kdbatch.base.reading.field_facts import Limits

TermWeight = Annotated[float, Limits("weight", least=0, most=1_000_000)]


@dataclass(frozen=True, kw_only=True)
class LossSpec:
    """Facts about a loss that a plan needs without importing torch.

    `terms` are the weights of its terms where the file gives none. Below `least_classes` the loss
    is constant or not defined. With `needs_whole_batch` it compares clips of a batch.
    """

    terms: tuple[float, ...] = ()
    least_classes: int = 1
    needs_whole_batch: bool = False


LOSS_SPECS: dict[str, LossSpec] = {
    "kl": LossSpec(),
    "dkd": LossSpec(terms=(1.0, 8.0), least_classes=3),
    "dist": LossSpec(terms=(1.0, 1.0), least_classes=3, needs_whole_batch=True),
}
STANDARDIZED_CLASSES = 3  # two standardised logits are always +1 and -1

FEATURE_LOSS_NAMES = (
    "ca-mkd",
    "hints",
    "cosine-l1",
)


def check_terms(loss: str, terms: Collection[float]) -> None:
    """Checks that a loss exists and has so many terms; no weights stand for its own.

    Raises:
        UserError: it has not; the message starts with the field.
    """
    own = lookup(LOSS_SPECS, loss, where="loss").terms
    if terms and len(terms) != len(own):
        wanted = f"{len(own)} weights, for example {list(own)}" if own else "none: leave it out"
        raise UserError(f"loss_terms: found {list(terms)}, and the terms of {loss} have {wanted}.")


def check_classes_suffice(loss: str, *, standardized: bool, num_classes: int, dataset: str) -> None:
    """Checks that a loss says something about a target of so many classes.

    Raises:
        UserError: it is constant or not defined; the message starts with the field.
    """
    least = LOSS_SPECS[loss].least_classes
    if num_classes < least:
        raise UserError(
            f"loss: {loss} needs at least {least} classes, and {dataset} has {num_classes}. "
            "Write kl, or another target."
        )
    if standardized and num_classes < STANDARDIZED_CLASSES:
        raise UserError(
            f"standardized_logits: need at least {STANDARDIZED_CLASSES} classes, and {dataset} has "
            f"{num_classes}. Write false, or another target."
        )


def parse_layers(text: str) -> tuple[str, str]:
    """(student's layer, teacher's layer): `layer2:conv4`; `layer2` names it in both.

    Raises:
        UserError: one of them is missing; the message starts with the field.
    """
    own, colon, wanted = text.partition(":")
    if not own or (colon and not wanted) or ":" in wanted:
        raise UserError(
            f"feature_layers: found {text!r}. Write a layer of the student, a colon and a layer of "
            "the teacher, for example layer2:conv4, or one layer that both have."
        )
    return own, wanted or own


def layer_pairs(texts: Collection[str], teacher_layers: Collection[str]) -> list[tuple[str, str]]:
    """The pairs that a teacher with these layers can follow, in the order of the file."""
    return [pair for pair in map(parse_layers, texts) if pair[1] in teacher_layers]


def check_feature_layers(
    texts: Collection[str],
    *,
    student: tuple[str, Collection[str]],
    teachers: Collection[tuple[str, Collection[str]]],
) -> None:
    """Checks that every layer exists and that each teacher has one. A network is its name and the
    names of its layers; names of layers that no network has are mistakes.

    Raises:
        UserError: a layer does not exist, or a teacher is left without any.
    """
    name, layers = student
    all_wanted = {layer for _, known in teachers for layer in known}
    for text in texts:
        own, wanted = parse_layers(text)
        for layer, known, of in ((own, layers, name), (wanted, all_wanted, "no teacher")):
            if layer not in known:
                has = "no layer" if of == name else "a layer"
                raise UserError(
                    f"feature_layers: {text}: {of} has {has} {layer!r}."
                    f"{did_you_mean(layer, known)} Layers: {', '.join(sorted(known)) or 'none'}."
                )
    for teacher, known in teachers if texts else ():
        if not layer_pairs(texts, known):
            raise UserError(
                f"feature_layers: found {', '.join(texts)}, none of which is a layer of {teacher}. "
                f"Add one of: {', '.join(known) or 'none'}; for example "
                f"{parse_layers(next(iter(texts)))[0]}:{next(iter(known), 'LAYER')}."
            )
