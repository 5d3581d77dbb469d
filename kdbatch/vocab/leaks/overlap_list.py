"""The list that `kdbatch shard overlap` writes and a recipe names: a CSV file, for people too.

    # k400 videos that show what a video of ucf101 shows. A line that is deleted stays in training.
    # made from k400/train: 50000 places of shards 0a1b...
    # made from ucf101/all: 13320 places of shards 2c3d...
    video,place,same_as,splits,frames,of,equal_bits,begins_seconds,how

Videos are named DATASET/PART/KEY: no name begins with a sign that spreadsheets calculate with. A
line may be deleted, after a look at the videos; everything else is compared with the shards before
the list is used.
"""

import csv
import dataclasses
import hashlib
import io
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from kdbatch.base.atomic_write import write_text
from kdbatch.base.command_lines import overlap_command
from kdbatch.base.errors import UserError, unreadable
from kdbatch.base.reading.field_facts import Count, Limits, Share, check_limits
from kdbatch.base.reading.regular_files import read_text
from kdbatch.base.reading.shown_values import shown
from kdbatch.vocab.shards.index import ShardIndex

_MADE_FROM = re.compile(r"# made from (\w+)/(\w+): (\d{1,12}) places of shards ([0-9a-f]{16})")
_VIDEO = re.compile(r"(\w+)/(\w+)/([a-z0-9_-]+)")


@dataclass(frozen=True, kw_only=True)
class ListedPair:
    """A video of the first data set, `place` in its part's order, and one of the second that it is
    the same as.

    `frames` of the `of` key frames that both would have agree. The second video begins
    `begins_seconds` after the first one; less than 0 is before it. `splits` are those of the
    second video, with spaces between them; `how` names the parts of the pictures that agree.
    """

    video: str
    place: Count
    same_as: str
    splits: str
    frames: Count
    of: Count
    equal_bits: Share
    begins_seconds: Annotated[float, Limits("seconds", least=-1e6, most=1e6)]
    how: str

    def __post_init__(self) -> None:
        check_limits(self)


@dataclass(frozen=True, kw_only=True)
class StoredPart:
    """The first `num_places` places of a part, and a digest of their shards."""

    dataset: str
    part: str
    num_places: Count
    digest: str

    def __post_init__(self) -> None:
        check_limits(self)


@dataclass(frozen=True, kw_only=True)
class OverlapList:
    """The pairs of a list, and what they were made from: all parts of both data sets."""

    first: str
    second: str
    made_from: tuple[StoredPart, ...]
    pairs: tuple[ListedPair, ...]


COLUMNS = [field.name for field in dataclasses.fields(ListedPair)]


def stored_part(index: ShardIndex, part: str, num_places: int) -> StoredPart:
    """The first places of a part, as the index has them."""
    shards = index.parts[part].shards[: math.ceil(num_places / index.videos_per_shard)]
    text = "\n".join([index.dataset, part, *(shard.sha256 for shard in shards)])
    digest = hashlib.sha256(text.encode()).hexdigest()[:16]
    return StoredPart(dataset=index.dataset, part=part, num_places=num_places, digest=digest)


def save_overlap_list(path: Path, found: OverlapList) -> None:
    """Write a list atomically."""
    out = io.StringIO()
    out.write(
        f"# {found.first} videos that show what a video of {found.second} shows. "
        "A line that is deleted stays in training.\n"
    )
    for part in found.made_from:
        out.write(
            f"# made from {part.dataset}/{part.part}: {part.num_places} places of shards "
            f"{part.digest}\n"
        )
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(dataclasses.astuple(pair) for pair in found.pairs)
    write_text(path, out.getvalue())


def load_overlap_list(path: Path, *, first: str, where: str) -> OverlapList:
    """Read a list of videos of the data set `first`. A spreadsheet may have written it.

    Raises:
        UserError: it is missing, damaged, or a list of videos of another data set; it begins with
            `where`.
    """
    example = next(name for name in ("ucf101", "hmdb51") if name != first)
    again = overlap_command(first, example, to=path)
    try:
        found = _parsed(read_text(path))
    except FileNotFoundError as error:
        raise UserError(f"{where}: there is no {path}. Make it, for example: {again}") from error
    except OSError as error:
        raise unreadable(path, error) from error
    except UserError as error:  # of another encoding
        raise UserError(f"{where}: {error}") from error
    except (ValueError, csv.Error) as error:
        raise UserError(
            f"{where}: {path} is no overlap list: {error}. Delete it, and make it again, for "
            f"example: {again}"
        ) from error
    if found.first != first:
        raise UserError(
            f"{where}: {path} lists videos of {found.first}, and these are of {first}. Make one, "
            f"for example: {overlap_command(first, example)}"
        )
    return found


def _parsed(text: str) -> OverlapList:
    """The list in a text; raises ValueError or csv.Error with what is wrong."""
    rows = [row for row in csv.reader(io.StringIO(text), strict=True) if any(row)]
    comments = [row[0] for row in rows if row[0].startswith("#")]
    found = [match for line in comments if (match := _MADE_FROM.fullmatch(line.strip()))]
    parts = tuple(
        StoredPart(dataset=m[1], part=m[2], num_places=int(m[3]), digest=m[4]) for m in found
    )
    names = list(dict.fromkeys(part.dataset for part in parts))
    if len(names) != 2:
        raise ValueError("it does not say which shards it was made from")
    table = [row for row in rows if not row[0].startswith("#")]
    if not table or table[0][: len(COLUMNS)] != COLUMNS:
        raise ValueError(f"its columns are not {','.join(COLUMNS)}")
    pairs = tuple(map(_pair, table[1:]))
    return OverlapList(first=names[0], second=names[1], made_from=parts, pairs=pairs)


def _pair(row: Sequence[str]) -> ListedPair:
    try:
        video, place, same_as, splits, frames, of, equal, begins, how = row[: len(COLUMNS)]
        if not _VIDEO.fullmatch(video):
            raise ValueError
        return ListedPair(
            video=video,
            place=int(place),
            same_as=same_as,
            splits=splits,
            frames=int(frames),
            of=int(of),
            equal_bits=float(equal),
            begins_seconds=float(begins),
            how=how,
        )
    except (ValueError, UserError) as error:
        raise ValueError(f"found the line {shown(','.join(row))}") from error
