"""`kdbatch shard overlap`: write the list of near-duplicates and print it."""

import dataclasses
from contextlib import nullcontext
from pathlib import Path

from kdbatch.base.command_lines import overlap_command, shell_word
from kdbatch.base.errors import UserError
from kdbatch.base.folders.presence import is_present
from kdbatch.base.progress import silent
from kdbatch.base.study_folder import find_study
from kdbatch.base.text import plural
from kdbatch.cli.live.progress import progress
from kdbatch.cli.study import check_target, load_study_config
from kdbatch.cli.terminal import print_json, print_line
from kdbatch.shard.overlap.find import find_overlap
from kdbatch.vocab.leaks.overlap_list import ListedPair, OverlapList, save_overlap_list

MAX_LINES = 20  # of the table; the list has all
_KEY_COLUMNS = 26


def overlap(first: str, second: str, *, to: Path, processes: int, json: bool) -> None:
    """`kdbatch shard overlap`."""
    config = load_study_config()
    path = to if to.name else find_study() / f"overlap-{first}-{second}.csv"
    again = overlap_command(first, second, to=f"OTHER{path.suffix}")
    if path.suffix != ".csv":
        raise UserError(f"shard overlap: --to: found {path}. Name a file that ends in .csv.")
    check_target(path, config, spelling=again)
    if is_present(path):
        raise UserError(
            f"{path}: exists, and may have been changed by hand. Delete it: rm {shell_word(path)}; "
            f"or name another file: {again}"
        )
    with nullcontext(silent) if json else progress(f"overlap {first} {second}") as show:
        result = find_overlap(
            first, second, shards_dir=config.shards_dir, processes=processes, progress=show
        )
    save_overlap_list(path, result.found)
    if json:
        counts = {name: getattr(result, name) for name in ("num_first", "num_second")}
        pairs = [dataclasses.asdict(pair) for pair in result.found.pairs]
        print_json({"list": str(path), **counts, "pairs": pairs})
        return
    for line in _table(result.found):
        print_line(line)
    listed = {pair.video for pair in result.found.pairs}
    print_line(
        f"{len(listed):,} of {plural(result.num_first, 'video')} of {first} show what one of "
        f"{result.num_second:,} of {second} shows."
    )
    print_line(f"The list: {path}. In a profile, this leaves them out:")
    print_line(f"without: {{{first}: [{path}]}}")


def _table(found: OverlapList) -> list[str]:
    """The first pairs, in 80 columns. Long names are cut."""
    if not found.pairs:
        return []
    header = (found.first, found.second, "frames", "bits", "begins")
    rows = [header, *map(_cells, found.pairs[:MAX_LINES])]
    widths = [max(len(row[i]) for row in rows) for i in range(len(header))]
    lines = []
    for row in rows:
        names = (cell.ljust(width) for cell, width in zip(row[:2], widths[:2], strict=True))
        numbers = (cell.rjust(width) for cell, width in zip(row[2:], widths[2:], strict=True))
        lines.append("  ".join((*names, *numbers)))
    if len(found.pairs) > MAX_LINES:
        lines.append(f"... and {plural(len(found.pairs) - MAX_LINES, 'pair')} more in the list")
    return lines


def _cells(pair: ListedPair) -> tuple[str, ...]:
    return (
        _short(pair.video),
        _short(pair.same_as),
        f"{pair.frames} of {pair.of}",
        f"{pair.equal_bits:.0%}",
        f"{pair.begins_seconds:+.1f} s",
    )


def _short(video: str) -> str:
    name = video.partition("/")[2]
    return name if len(name) <= _KEY_COLUMNS else f"{name[: _KEY_COLUMNS - 2]}.."
