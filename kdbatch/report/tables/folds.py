"""Says in the caption of a table which folds its numbers are of."""

from collections.abc import Iterator, Mapping, Sequence

from kdbatch.report.labels import case_title


def fold_sentences(
    columns: Sequence[dict[str, str]],
    folds: Sequence[tuple[int, ...]],
    titles: Mapping[str, str],
) -> Iterator[str]:
    """Yield a sentence for the columns with these folds, where they are others than the first.

    Columns are named where they differ: by the values of the first axis that tells them apart.
    `titles` are those of the plan.
    """
    by_value = _folds_by_value(columns, folds, titles)
    for value, numbers in by_value.items():
        if numbers == (1,):
            continue
        names = ", ".join(map(str, numbers))
        text = f"fold {names}." if len(numbers) == 1 else f"each seed: mean of folds {names}."
        yield f"{value}, {text}" if len(by_value) > 1 else text[0].upper() + text[1:]


def _folds_by_value(
    columns: Sequence[dict[str, str]],
    folds: Sequence[tuple[int, ...]],
    titles: Mapping[str, str],
) -> dict[str, tuple[int, ...]]:
    """Return the folds by the part of a case that they depend on; of equal ones, one entry."""
    if len(set(folds)) <= 1:
        return {"": folds[0]} if folds else {}
    axes, found = columns[0], {}
    for kept in (*([axis] for axis in axes), list(axes)):
        names = [case_title({axis: column[axis] for axis in kept}, titles) for column in columns]
        found = dict(zip(names, folds, strict=True))
        if all(found[name] == own for name, own in zip(names, folds, strict=True)):
            break
    return found
