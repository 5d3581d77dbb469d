"""All tables that other distributions may add to, and a line about each of those."""

from kdbatch.base.errors import UserError
from kdbatch.vocab.backbones import BACKBONE_SPECS
from kdbatch.vocab.distillation.losses import LOSS_SPECS
from kdbatch.vocab.distillation.weightings import WEIGHTING_SPECS
from kdbatch.vocab.extensions.spec_table import SpecTable, code_of
from kdbatch.vocab.tasks import TASKS

EXTENSIBLE: dict[str, SpecTable] = {
    "backbone": BACKBONE_SPECS,
    "task": TASKS,
    "weighting": WEIGHTING_SPECS,
    "loss": LOSS_SPECS,
}


def installed_lines() -> tuple[str, ...]:
    """A line for each distribution that adds something: its code and the names. A fault of a
    distribution is a line as well.
    """
    names: dict[str, list[str]] = {}
    for kind, table in EXTENSIBLE.items():
        try:
            for name, entry in table.entries.items():
                names.setdefault(str(code_of(entry)), []).append(f"{kind} {name}")
        except UserError as error:
            names.setdefault(str(error), [])
    return tuple(f"{code}: {', '.join(of)}" if of else code for code, of in sorted(names.items()))
