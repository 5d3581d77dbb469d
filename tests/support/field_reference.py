"""docs/REFERENCE.md and the JSON schemas, from the types that files are read as.

`python tests/support/field_reference.py` (or `make reference`) writes them; tests/test_reference.py
compares them.
"""

import dataclasses
import json
import sys
import types
import typing
from pathlib import Path
from typing import Annotated, Any, Literal

ROOT = Path(__file__).parents[2]
if __name__ == "__main__":
    sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from kdbatch.base.reading.field_facts import description_of, field_hints, limits_of  # noqa: E402
from kdbatch.base.reading.field_types import TextOrNumber  # noqa: E402
from kdbatch.plan.experiment_file import ExperimentFile, Filled  # noqa: E402
from kdbatch.plan.outside.outside_file import OutsideFile  # noqa: E402
from kdbatch.plan.profiles.profile_file import Profile  # noqa: E402
from kdbatch.plan.profiles.scales import (  # noqa: E402
    ClipScale,
    CompareScale,
    NetworkTraining,
    PretrainScale,
)
from kdbatch.plan.specs import PretrainSpec, StudentSpec, TeacherSpec, Timeline  # noqa: E402
from kdbatch.plan.validate import CLAIM_FIELDS  # noqa: E402
from kdbatch.vocab.attempts.retries import Retries  # noqa: E402
from kdbatch.vocab.config import Config, Container, Paths, Site  # noqa: E402
from kdbatch.vocab.jobs.resources import Resources  # noqa: E402
from kdbatch.vocab.plans.declarations import Claim, Map, Table, Untestable  # noqa: E402
from kdbatch.vocab.recipes.evaluation import Selection  # noqa: E402
from kdbatch.vocab.recipes.schedule import Schedule  # noqa: E402
from kdbatch.vocab.runs.cache import Cache  # noqa: E402
from kdbatch.vocab.sources.dataset_source import DatasetSource, TableColumns  # noqa: E402
from kdbatch.vocab.tasks import TASKS  # noqa: E402
from support.field_schema import (  # noqa: E402
    SCHEMA_NAMES,
    SET_BY_EXPERIMENT,
    TASK_CLASSES,
    file_schema,
    is_required,
)

EXAMPLES = ROOT / "docs" / "examples"
DOCUMENT = ROOT / "docs" / "REFERENCE.md"
SCHEMAS = ROOT / "jobs" / "schema"

INTRODUCTION = """\
# Every field

The fields of the three kinds of files that a user writes. This page and the JSON schemas in
`jobs/schema/`, with which editors check and complete a file, are made by `make reference` from the
types that the files are read as. `kdbatch plan FILE` refuses a file that has a mistake.

An editor finds the schema by the first line of a file, which those that `kdbatch init` writes have:
in `jobs/` it is `# yaml-language-server: $schema=schema/experiment.json`, in `jobs/profiles/`
`# yaml-language-server: $schema=../schema/profile.json`, in `kdbatch.toml`
`#:schema jobs/schema/kdbatch.json`.

Where a type is *text or number*, a size such as `50k` or `2000` needs no quotes. Numbers are
finite.
"""
PARTS = (
    (
        "Experiments",
        "`jobs/NAME.yaml`. Inside of teachers, references, student and controls any value may be a "
        "`$name` of `vary`.",
        "every_field.yaml",
        (
            (ExperimentFile, "The file"),
            (Timeline, "Timeline"),
            (TeacherSpec, "Teachers and references"),
            (PretrainSpec, "Pretraining of a teacher"),
            (StudentSpec, "Student and controls"),
            (Table, "Tables"),
            (Map, "Maps"),
            (Claim, "Claims"),
            (Untestable, "Statements that cannot be tested"),
        ),
    ),
    (
        "Experiments of another trainer",
        "`jobs/NAME.yaml` with `roles` and without `student`: [OWN_RESULTS.md](OWN_RESULTS.md). "
        "Tables, claims and statements that cannot be tested are those above.",
        "outside.yaml",
        ((OutsideFile, "The file of roles"),),
    ),
    (
        "Profiles",
        "`jobs/profiles/NAME.yaml`, chosen by `--profile NAME`. One that is not next to the "
        "experiment is the one that comes with kdbatch.",
        "profiles/every_field.yaml",
        (
            (Profile, "The profile"),
            (ClipScale, "Clips"),
            (PretrainScale, "Pretraining at a scale"),
            (Schedule, "Schedules"),
            (Selection, "Model selection"),
            (NetworkTraining, "Training of a network"),
            (CompareScale, "CKA maps"),
            *((spec.parameters, f"Parameters of {name}") for name, spec in TASKS.items()),
        ),
    ),
    (
        "kdbatch.toml",
        "In the folder of the study. No field is needed, but for the root of a data set that is "
        "named, and none can change a result. Relative paths are relative to the file's folder.",
        "kdbatch.toml",
        (
            (Config, "The settings"),
            (Paths, "paths"),
            (DatasetSource, "datasets"),
            (TableColumns, "datasets.NAME.columns"),
            (Cache, "cache"),
            (Site, "site"),
            (Container, "container"),
            (Retries, "retries"),
            (Resources, "resources"),
        ),
    ),
)
HEADINGS: dict[Any, str] = {cls: heading for *_, classes in PARTS for cls, heading in classes}


def reference_page() -> str:
    """The text of docs/REFERENCE.md."""
    lines = [INTRODUCTION]
    for title, introduction, example, classes in PARTS:
        lines += [f"## {title}", "", introduction, ""]
        for cls, heading in classes:
            lines += [f"### {heading}", "", *_table(cls), ""]
            if cls is Claim:
                lines += [*_claim_kinds(), ""]
        text = (EXAMPLES / example).read_text(encoding="utf-8").rstrip()
        language = Path(example).suffix.removeprefix(".")
        link = f"[examples/{example}](examples/{example})"
        lines += [f"### Example: {title}", "", f"{link} has every field:", ""]
        lines += [f"```{language}", text, "```", ""]
    return "\n".join(lines).rstrip() + "\n"


def fields_of(cls: Any) -> list[dataclasses.Field[Any]]:
    """The fields that a file can have."""
    hidden = SET_BY_EXPERIMENT if cls in TASK_CLASSES else ()
    return [field for field in dataclasses.fields(cls) if field.name not in hidden]


def _table(cls: Any) -> list[str]:
    lines = ["| field | type | default | values | unit | meaning |", "| --- " * 6 + "|"]
    for field in fields_of(cls):
        hint = field_hints(cls)[field.name]
        values, unit = _values_and_unit(hint)
        meaning = description_of(cls, field.name).replace("|", r"\|")
        cells = (f"`{field.name}`", _type(hint), _default(cls, field), values, unit, meaning)
        lines.append(f"| {' | '.join(cells)} |".replace("  ", " "))
    return lines


def _values_and_unit(hint: Any) -> tuple[str, str]:
    """The range and the unit of a number, or of each number of a list or mapping."""
    limits = limits_of(hint)
    if not limits and typing.get_origin(hint) in (tuple, dict):
        position = 0 if typing.get_origin(hint) is tuple else 1
        limits = limits_of(typing.get_args(hint)[position])
    return (limits.range_text, limits.unit) if limits else ("", "")


def _claim_kinds() -> list[str]:
    lines = ["| kind | needs | may have |", "| --- | --- | --- |"]
    for kind, (needed, allowed) in CLAIM_FIELDS.items():
        cells = (_code(kind), ", ".join(map(_code, needed)), ", ".join(map(_code, allowed)) or "-")
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _type(hint: Any) -> str:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if hint == TextOrNumber:
        return "text or number"
    if origin is Annotated:
        filled = next((fact for fact in args[1:] if isinstance(fact, Filled)), None)
        limits = limits_of(hint)
        if limits and limits.choices:
            return ", ".join(map(_code, limits.choices))
        return _type(filled.hint if filled else args[0])
    if hint in HEADINGS:
        anchor = HEADINGS[hint].lower().replace(" ", "-")
        return f"[{HEADINGS[hint]}](#{anchor})"
    if origin is Literal:
        return ", ".join(_code(arg) for arg in args)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_type(arg) for arg in args)
    if origin is tuple:
        return f"list of {_type(args[0])}"
    if origin is dict:
        return f"{_type(args[1])}, by name"
    return _SCALARS[hint]


_SCALARS: dict[Any, str] = {
    Any: "any value",
    bool: "true or false",
    float: "number",
    int: "whole number",
    str: "text",
    type(None): "nothing",
}


def _default(cls: Any, field: dataclasses.Field[Any]) -> str:
    if is_required(field):
        return "**needed**"
    has_factory = field.default_factory is not dataclasses.MISSING
    value = field.default_factory() if has_factory else field.default  # type: ignore[misc]
    if dataclasses.is_dataclass(value):
        return "its defaults"
    if value in ("", (), None) or value == {}:
        return "-"
    return _code(str(value).lower() if isinstance(value, bool) else value)


def _code(value: Any) -> str:
    return f"`{value}`"


def schema_text(name: str) -> str:
    """The text of jobs/schema/NAME.json."""
    return json.dumps(file_schema(name), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    SCHEMAS.mkdir(exist_ok=True)
    for schema_name in SCHEMA_NAMES:
        (SCHEMAS / f"{schema_name}.json").write_text(schema_text(schema_name), encoding="utf-8")
    DOCUMENT.write_text(reference_page(), encoding="utf-8")
