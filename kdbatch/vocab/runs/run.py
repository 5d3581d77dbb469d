"""A Run, and its id: a hash of everything that can change a number."""

import hashlib
import json
import marshal
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Annotated, Any

from kdbatch.base.digests.hashed_fields import hashed_fields, new_field
from kdbatch.base.parse import key_of, parse
from kdbatch.base.reading.field_facts import Limits, check_limits
from kdbatch.base.reading.field_types import SHARED
from kdbatch.base.reading.file_names import check_plain_name
from kdbatch.vocab.extensions.sources import Code
from kdbatch.vocab.recipes.recipe import RECIPE_VERSION, Recipe

RUN_ID = re.compile("r[0-9a-f]{10}")
_ANY_RECIPE: Any = Annotated[Recipe, SHARED]


@dataclass(frozen=True, kw_only=True)
class Run:
    """One Recipe, one seed, the ids of its parents, and the code of other distributions that it or
    its parents use.
    """

    recipe: Annotated[Recipe, SHARED]
    # a seed of a profile, and the offset of a teacher such as T1@2
    seed: Annotated[int, Limits("seed", least=0, most=2**32 + 999_998)]
    parents: tuple[str, ...]
    code: tuple[Code, ...] = new_field(())

    def __post_init__(self) -> None:
        check_limits(self)
        for i, parent in enumerate(self.parents):
            check_plain_name(parent, where=f"parents[{i}]")

    @cached_property
    def id(self) -> str:
        """The letter r and 10 hex digits of a hash over all fields. The letter keeps an id such as
        `12e4567` from being read as a number.
        """
        recipe = _text_of(self.recipe)
        return _id_of(recipe, self.parents, self.seed, self.code, version=RECIPE_VERSION)

    @property
    def teachers(self) -> tuple[str, ...]:
        """The parents that a student learns from: those before `pretrained` and `equal_to`."""
        num_others = len(self.pretrained + self.equal_to)
        return self.parents[: len(self.parents) - num_others]

    @property
    def pretrained(self) -> tuple[str, ...]:
        """The parent, if any, whose backbone a student starts from; it stands after teachers."""
        others = self.parents[: len(self.parents) - len(self.equal_to)]
        return others[-1:] if getattr(self.recipe, "start", "random") != "random" else ()

    @property
    def equal_to(self) -> tuple[str, ...]:
        """The parent, if any, whose accuracy chooses the epoch of a student; it stands last."""
        return self.parents[-1:] if getattr(self.recipe, "kept_epoch", "best") != "best" else ()


def ids_in_file(run: Mapping[str, Any], *, older: bool = False) -> set[str]:
    """The ids that a run in a file may have: by the recipes of now, or of all `older` versions."""
    texts = _recipe_texts(key_of(run["recipe"]))
    parents, seed, code = run["parents"], run["seed"], run.get("code")
    return {
        _id_of(recipe, parents, seed, code or (), version=version)
        for version in (range(1, RECIPE_VERSION) if older else [RECIPE_VERSION])
        for recipe in texts
    }


@lru_cache(maxsize=4096)
def _recipe_texts(key: bytes) -> set[str]:
    """The JSON of a recipe: as it is read today, and as the file has it, since an older version
    hashed the fields that there were then. Cached: thousands of runs share a recipe.
    """
    raw = marshal.loads(key)
    recipe: Any = parse(_ANY_RECIPE, raw, where="recipe")
    return {json.dumps(found, sort_keys=True, default=hashed_fields) for found in (recipe, raw)}


_TEXTS: dict[int, tuple[Any, str]] = {}
_MAX_TEXTS = 4096


def _text_of(recipe: Any) -> str:
    """The JSON of a recipe. Cached by its identity: a hash of it would take as long, and equal
    recipes may differ in their text, as 1 and 1.0 do.
    """
    known = _TEXTS.get(id(recipe))
    if known and known[0] is recipe:
        return known[1]
    if len(_TEXTS) >= _MAX_TEXTS:
        _TEXTS.clear()
    text = json.dumps(recipe, sort_keys=True, default=hashed_fields)
    _TEXTS[id(recipe)] = (recipe, text)  # which keeps the recipe, and so its identity
    return text


def _id_of(
    recipe: str, parents: Sequence[str], seed: int, code: Sequence[Any], *, version: int
) -> str:
    """The id of a run whose recipe has this JSON: keys are sorted, and no code is no field."""
    fields = f'"parents": {json.dumps(parents)}, "recipe": {recipe}, "seed": {json.dumps(seed)}'
    if code:
        texts = json.dumps(code, sort_keys=True, default=hashed_fields)
        fields = f'"code": {texts}, {fields}'
    return _hash(f"[{version}, {{{fields}}}]")


def _hash(text: str) -> str:
    return "r" + hashlib.sha256(text.encode()).hexdigest()[:10]


OUTSIDE = "outside"
"""The kind, in done.json, of a run that another trainer made."""


def outside_run_id(experiment: str, role: str, case: Mapping[str, str], *, seed: int) -> str:
    """The id of a run that another trainer makes: a hash over its place in an experiment."""
    return _hash(json.dumps([OUTSIDE, experiment, role, dict(case), seed], sort_keys=True))
