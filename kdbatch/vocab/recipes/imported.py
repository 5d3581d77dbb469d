"""The recipe of a network that was trained elsewhere."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from kdbatch.base.errors import UserError
from kdbatch.vocab.backbones import Backbone
from kdbatch.vocab.recipes.evaluation import Evaluation
from kdbatch.vocab.shards.subset import Subset
from kdbatch.vocab.views import View


@dataclass(frozen=True, kw_only=True)
class ImportedClasses:
    """The classes that a network from elsewhere predicts, in the order of its outputs, and the
    videos that it predicts them for. `data` are the training videos of its students.
    """

    names: tuple[str, ...]
    data: Subset
    view: View
    evaluation: Evaluation

    def rows_of(self, wanted: Sequence[str]) -> list[int]:
        """The output of each class of `wanted`, matched by name: letters and digits count, and
        their case does not. Outputs of other classes are not used.

        Raises:
            UserError: a class is not among the names, or is there twice.
        """
        rows: dict[str, list[int]] = {}
        for row, name in enumerate(self.names):
            rows.setdefault(_plain(name), []).append(row)
        missing = [name for name in wanted if _plain(name) not in rows]
        if missing:
            few = ", ".join(missing[:3]) + (", ..." if len(missing) > 3 else "")
            raise UserError(
                f"classes: {len(missing)} of the {len(wanted)} classes of {self.data.dataset} are "
                f"not among the {len(self.names)} names: {few}. Write them as the data set does, "
                "or leave classes out, and the network is fine-tuned."
            )
        doubled = next((name for name in wanted if len(rows[_plain(name)]) > 1), None)
        if doubled:
            raise UserError(f"classes: {doubled} is there twice. Name each class once.")
        return [rows[_plain(name)][0] for name in wanted]


def _plain(name: str) -> str:
    """A class name without its case, spaces and punctuation."""
    return re.sub(r"[\W_]+", "", name.casefold())


@dataclass(frozen=True, kw_only=True)
class Import:
    """A network that was trained elsewhere, or its outputs: one file, checked and not trained.

    Without `classifier` it is a backbone, which a teacher is fine-tuned from. Without `backbone` it
    is a table of logits, of a network that kdbatch cannot run.
    """

    kind: Literal["import"] = "import"
    sha256: str
    """The file's sha256, so that another file is another run."""
    backbone: Backbone | None = None
    keys: tuple[tuple[str, str | None], ...] = ()
    """Beginnings of the names in the file, and what replaces them; None leaves the tensors out."""
    classifier: ImportedClasses | None = None

    def __post_init__(self) -> None:
        if self.backbone is None and self.classifier is None:
            raise UserError("classifier: outputs need the names of their classes.")
