"""`done.json`: the record of a finished run, written last; its presence alone makes a run done."""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from kdbatch.base.atomic_write import load_json, write_json
from kdbatch.base.errors import UserError
from kdbatch.base.folders.presence import is_present
from kdbatch.base.parse import parse
from kdbatch.base.reading.field_facts import Count, Limits, Time, field_hints
from kdbatch.vocab.status import Cause, RepairAdvice


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """The software and the machine that produced a result; empty where it is not known.

    `git_sha` is a commit, or `unknown` with the reason in parentheses; `image_sha256` is set when
    the launcher knows the hash of the image file, `image_base` what the image was built on, and
    `lock_sha256` when the lock file of the installation is there.
    """

    kdbatch_version: str = ""
    git_sha: str = ""
    lock_sha256: str = ""
    image_sha256: str = ""
    image_base: str = ""
    python_version: str = ""
    torch_version: str = ""
    cuda_version: str = ""
    rocm_version: str = ""
    host: str = ""
    device: str = ""


@dataclass(frozen=True, kw_only=True)
class StageFacts:
    """Facts that a stage reports about its run besides rows; None or empty where it has none.

    `idle_percent` is the share of the training in which the device had nothing of a step to do.
    `classes` are the class names in label order. `num_layers` are the two sides of a CKA map.
    """

    model_sha256: str = ""
    num_parameters: Count | None = None
    clips_per_second: Annotated[float, Limits("clips/s", least=0, most=10**9)] | None = None
    idle_percent: Annotated[float, Limits("percent", least=0, most=100)] | None = None
    gpu_utilisation_percent: Annotated[float, Limits("percent", least=0, most=100)] | None = None
    classes: tuple[str, ...] = ()
    num_clips: Count | None = None
    num_layers: tuple[Count, ...] = ()
    num_queries: Count | None = None
    num_gallery: Count | None = None


@dataclass(frozen=True, kw_only=True)
class Done:
    """`finished_at` is in seconds since 1970; `seconds` and `device_hours` cover all attempts.

    `interruptions` counts the attempts before the last by cause. `files` is the sha256 of each
    file of results by its name, and `label_ranks_sha256` that of the columns of predictions.parquet
    that the report reads (result/digests.py). A file of an older version may lack a number or
    `files`, which is None then.
    """

    run_id: str
    kind: str
    title: str = ""
    finished_at: Time | None = None
    seconds: Annotated[float, Limits("seconds", least=0, most=10**12)] | None = None
    device_hours: Annotated[float, Limits("hours", least=0, most=10**12)] | None = None
    attempts: Count | None = None
    interruptions: Mapping[Cause, Count] = field(default_factory=dict)
    files: Mapping[str, str] | None = None
    label_ranks_sha256: str = ""
    provenance: Provenance = Provenance()
    facts: StageFacts = StageFacts()


def save_done(path: Path, done: Done) -> None:
    """Write the file; nested sections are flat in it, and facts that a stage lacks are left out."""
    own = {f.name: getattr(done, f.name) for f in dataclasses.fields(Done)}
    del own["provenance"], own["facts"]
    if done.files is None:
        del own["files"], own["label_ranks_sha256"]
    facts = {k: v for k, v in vars(done.facts).items() if v not in (None, "", ())}
    write_json(path, {**own, **vars(done.provenance), **facts})


def load_done(path: Path, *, warn: Callable[[str], None]) -> Done | None:
    """The record of a finished run; None where there is no file or it is no record at all.

    Files of older versions lack fields, and a damaged file may hold wrong values: such a field
    keeps its default and is named through `warn`. Unknown fields are ignored.
    """
    advice = RepairAdvice(folder=path.parent)
    try:
        if not is_present(path):
            return None
        raw = load_json(path, advice=advice)
    except UserError as error:
        warn(str(error))
        return None
    if not isinstance(raw, dict):
        warn(f"{path}: is no JSON object. The run's cost and origin are unknown.")
        return None
    if raw.get("run_id", path.parent.name) != path.parent.name:
        warn(f"{path}: is the record of another run ({raw.get('run_id')}). {advice}")
        return None
    own = _known_fields(Done, raw, path, warn)
    own.setdefault("run_id", path.parent.name)
    own.setdefault("kind", "")
    return Done(
        **own,
        provenance=Provenance(**_known_fields(Provenance, raw, path, warn)),
        facts=StageFacts(**_known_fields(StageFacts, raw, path, warn)),
    )


def _known_fields(
    section: type, raw: Mapping[str, Any], path: Path, warn: Callable[[str], None]
) -> dict[str, Any]:
    """The fields of `section` that `raw` holds with a value of the right type."""
    fields: dict[str, Any] = {}
    for name, hint in field_hints(section).items():
        if name not in raw or name in ("provenance", "facts"):
            continue
        if hint is str and type(raw[name]) is str:  # most fields, in thousands of files
            fields[name] = raw[name]
            continue
        try:
            fields[name] = parse(hint, raw[name], where=f"{path}: {name}")
        except UserError as error:
            warn(str(error))
    return fields
