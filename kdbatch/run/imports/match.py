"""Matches the tensors of a file with those of a network, by name and shape."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from kdbatch.base.errors import UserError

SHOWN = 3
MAX_LISTED = 40
_COUNTER = "num_batches_tracked"  # of batch norms, which older files lack and no output depends on


def rename(
    tensors: Mapping[str, Tensor], keys: Sequence[tuple[str, str | None]], *, where: str
) -> dict[str, Tensor]:
    """The tensors under the names that `keys` give them: the longest beginning counts, and one
    that is replaced by None leaves its tensors out.

    Raises:
        UserError: a beginning is that of no name, or two tensors get one name.
    """
    by_length = sorted(keys, key=lambda key: -len(key[0]))
    unused, found = dict(by_length), {}
    for name, tensor in tensors.items():
        old, new = next(((o, n) for o, n in by_length if name.startswith(o)), ("", ""))
        unused.pop(old, None)
        if new is None:
            continue
        renamed = new + name[len(old) :]
        if renamed in found:
            raise UserError(f"{where}.keys: two tensors are named {renamed}. Leave one out.")
        found[renamed] = tensor
    if unused:
        raise UserError(
            f"{where}.keys: no name begins with {next(iter(unused))!r}. {_names_of(tensors)}"
        )
    return found


def copy_matched(
    tensors: Mapping[str, Tensor], wanted: Mapping[str, Tensor], *, are_renamed: bool, where: str
) -> None:
    """Copy tensors into `wanted`, the state of a network, which has these names and shapes.
    `are_renamed` says that the names are not those of the file.

    Raises:
        UserError: some are missing, not the network's, or of other shapes. The first line has the
            numbers and the first of each, the lines after it the others.
    """
    missing = [n for n in wanted if n not in tensors and not n.endswith(_COUNTER)]
    unknown = [n for n in tensors if n not in wanted]
    other = [
        f"{n} {_shape(tensors[n])} for {_shape(wanted[n])}"
        for n in wanted
        if n in tensors and tensors[n].shape != wanted[n].shape
    ]
    differences = {"missing": missing, "not of the network": unknown, "of another shape": other}
    if any(differences.values()):
        found = [f"{len(n)} {what} ({_few(n)})" for what, n in differences.items() if n]
        line = f"{where}: tensors differ from the network's: {', '.join(found)}."
        advice = " Names are as keys change them." if are_renamed else _advice(tensors, wanted)
        raise UserError(
            f"{line}{advice}",
            *(line for what, names in differences.items() for line in _listed(what, names)),
        )
    with torch.no_grad():
        for name, target in wanted.items():
            if name in tensors:
                target.copy_(tensors[name])


def _advice(tensors: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> str:
    """The line of `keys` that would do, where the network is in the file below one beginning."""
    general = (
        " Rename or leave out beginnings of names by keys, or write another backbone; its width is "
        "that of the profile."
    )
    if all(name in wanted for name in tensors):
        return general
    first = next(iter(wanted))
    for prefix in (name.removesuffix(first) for name in tensors if name.endswith(first)):
        if all(prefix + n in tensors or n.endswith(_COUNTER) for n in wanted):
            known = {prefix + n for n in wanted}
            lines = [f'{prefix}: ""'] * bool(prefix)
            lines += [
                f"{n}: null" for n in dict.fromkeys(_top(n) for n in tensors if n not in known)
            ]
            return f" Write keys: {{{', '.join(lines)}}}"
    return general


def _top(name: str) -> str:
    """The beginning of a name up to its first dot."""
    return name[: name.find(".") + 1] or name


def _names_of(tensors: Mapping[str, Tensor]) -> str:
    return f"It has {len(tensors)} names: {_few(list(tensors))}."


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")


def _listed(what: str, names: Sequence[str]) -> list[str]:
    """A line for each name, unless all of them are in the first line."""
    if len(names) <= SHOWN:
        return []
    lines = [f"  {what}: {name}" for name in names[:MAX_LISTED]]
    num_more = len(names) - len(lines)
    return [*lines, f"  {what}: {num_more} more"] if num_more else lines


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "one number"
