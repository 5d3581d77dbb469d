"""The losses of predictions: their names, their terms, and the targets that they are defined for.

The functions are in run/train/losses.py.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Annotated, Any

from kdbatch.base.errors import UserError
from kdbatch.base.lookup import lookup
from kdbatch.base.reading.field_facts import Limits
from kdbatch.vocab.extensions.spec_table import SpecTable

TermWeight = Annotated[float, Limits("weight", least=0, most=1_000_000)]


@dataclass(frozen=True, kw_only=True)
class LossSpec:
    """Facts about a loss that a plan needs without importing torch.

    `terms` are the weights of its terms where the file gives none. Below `least_classes` the loss
    is constant or not defined. With `needs_whole_batch` it compares clips of a batch. `load`
    returns the function of a loss of another distribution.
    """

    terms: tuple[TermWeight, ...] = ()
    least_classes: Annotated[int, Limits("classes", least=1, most=1_000_000)] = 1
    needs_whole_batch: bool = False
    load: Callable[..., Any] | None = None


_BUILT_IN: dict[str, LossSpec] = {
    "kl": LossSpec(),
    "dkd": LossSpec(terms=(1.0, 8.0), least_classes=3),
    "dist": LossSpec(terms=(1.0, 1.0), least_classes=3, needs_whole_batch=True),
}
LOSS_SPECS = SpecTable(_BUILT_IN, kind=LossSpec, group="kdbatch.losses")
STANDARDIZED_CLASSES = 3  # two standardised logits are always +1 and -1


def terms_of(loss: str) -> tuple[float, ...]:
    """The weights of a loss's terms where none are given.

    Raises:
        UserError: there is no such loss; the message starts with the field.
    """
    return lookup(LOSS_SPECS, loss, where="loss").terms


def check_terms(loss: str, terms: Collection[float]) -> None:
    """Checks that a loss exists and has so many terms.

    Raises:
        UserError: it has not; the message starts with the field.
    """
    own = terms_of(loss)
    if len(terms) != len(own):
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
