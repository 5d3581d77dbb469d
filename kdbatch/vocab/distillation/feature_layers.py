"""The losses of feature maps: their names, and the layers whose maps are compared.

The functions are in run/train/feature_match.py.
"""

from collections.abc import Collection

from kdbatch.base.errors import UserError
from kdbatch.base.lookup import did_you_mean
from kdbatch.base.reading.shown_values import shown

FEATURE_LOSS_NAMES = (
    "ca-mkd",
    "hints",
    "cosine-l1",
)


def parse_layers(text: str) -> tuple[str, str]:
    """(student's layer, teacher's layer): `layer2:conv4`; `layer2` names it in both.

    Raises:
        UserError: one of them is missing; the message starts with the field.
    """
    own, colon, wanted = text.partition(":")
    if not own or (colon and not wanted) or ":" in wanted:
        raise UserError(
            f"feature_layers: found {shown(text)}. Write a layer of the student, a colon and a "
            "layer of the teacher, for example layer2:conv4, or one layer that both have."
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
    others: Collection[str] = (),
) -> None:
    """Checks that every layer exists and that each teacher has one. A network is its name and the
    names of its layers; `others` are those of networks that other students learn from.

    Raises:
        UserError: a layer does not exist, or a teacher is left without any.
    """
    name, layers = student
    all_wanted = {layer for _, known in teachers for layer in known}.union(others)
    for text in texts:
        own, wanted = parse_layers(text)
        for layer, known, of in ((own, layers, name), (wanted, all_wanted, "no teacher")):
            if layer not in known:
                has = "no layer" if of == name else "a layer"
                raise UserError(
                    f"feature_layers: {text[:60]}: {of} has {has} {shown(layer)}."
                    f"{did_you_mean(layer, known)} Layers: {', '.join(sorted(known)) or 'none'}."
                )
    for teacher, known in teachers if texts else ():
        if not layer_pairs(texts, known):
            raise UserError(
                f"feature_layers: found {', '.join(texts)}, none of which is a layer of {teacher}. "
                f"Add one of: {', '.join(known) or 'none'}; for example "
                f"{parse_layers(next(iter(texts)))[0]}:{next(iter(known), 'LAYER')}."
            )
