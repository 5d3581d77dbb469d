from dataclasses import dataclass
from typing import Annotated, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdbatch.base.errors import UserError
from kdbatch.base.parse import parse
from kdbatch.base.reading.field_types import SHARED
from kdbatch.vocab.runs.run import Run


@dataclass(frozen=True, kw_only=True)
class Teacher:
    run_id: str
    weight: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Mixture:
    teachers: tuple[Teacher, ...]
    kind: Literal["equal", "ae-kd"] = "equal"
    seeds: dict[str, int] | None = None


@dataclass(frozen=True, kw_only=True)
class Lesson:
    teacher: Annotated[Teacher, SHARED]


def test_equal_shared_values_are_one_object_and_an_error_keeps_its_place() -> None:
    """1, 1.0 and true are equal in Python, and are told apart."""
    raw = {"teacher": {"run_id": "r7", "weight": 1}}
    first, second = (parse(Lesson, raw, where="x.json") for _ in range(2))
    assert first.teacher is second.teacher
    with pytest.raises(
        UserError, match=r"^x\.json: teacher\.weight: expected a number, found true"
    ):
        parse(Lesson, {"teacher": {"run_id": "r7", "weight": True}}, where="x.json")


def test_nested_values_arrive_as_types() -> None:
    got = parse(
        Mixture,
        {"teachers": [{"run_id": "r1", "weight": 2}], "kind": "ae-kd", "seeds": {"a": 1}},
        where="x.yaml",
    )
    assert got == Mixture(
        teachers=(Teacher(run_id="r1", weight=2.0),), kind="ae-kd", seeds={"a": 1}
    )


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (
            {"teachers": [{"run_id": "r1", "weigth": 2}]},
            r"^x\.yaml: teachers\[0\] has no field 'weigth'\. Did you mean 'weight'\? "
            r"Fields: run_id, weight\.$",
        ),
        ({}, r"^x\.yaml needs the field 'teachers'\. Fields: teachers, kind, seeds\.$"),
        ({"teachers": "r1"}, r'found .r1.\. Write it in brackets: \["r1"\]\.$'),
        ({"teachers": [{"run_id": 1}]}, r'expected a text, found 1\. Write it in quotes: "1"\.$'),
        ({"teachers": [{"run_id": ["r1"]}]}, r"expected a text, found \['r1'\]\.$"),
        ({"teachers": [{"run_id": "r", "weight": True}]}, "expected a number, found true"),
        ({"teachers": [], "kind": "aekd"}, "Did you mean 'ae-kd'"),
        (
            {"teachers": [], "seeds": {"a": "b"}},
            r"^x\.yaml: seeds\.a: expected a whole number, found the text 'b'\.$",
        ),
        (
            {"teachers": [], "seeds": {"a": "7"}},
            r"found the text '7'\. Write it without quotes: 7\.$",
        ),
        ({"teachers": [{"run_id": True}]}, r"found true\. YAML reads yes, .* in quotes\.$"),
        ([1], "expected fields with values, found \\[1\\]"),
        (None, "found nothing"),
    ],
)
def test_an_error_names_the_field(raw: object, message: str) -> None:
    with pytest.raises(UserError, match=message):
        parse(Mixture, raw, where="x.yaml")


@dataclass(frozen=True, kw_only=True)
class Circle:
    kind: Literal["circle"] = "circle"
    radius: float = 1.0
    mode: Literal["plain"] = "plain"


@dataclass(frozen=True, kw_only=True)
class Square:
    kind: Literal["square"] = "square"
    side: float = 1.0
    mode: Literal["plain"] = "plain"


@dataclass(frozen=True, kw_only=True)
class Drawing:
    shape: Circle | Square
    amount: int | str = 0


def test_a_union_is_resolved_by_the_field_in_which_its_choices_differ() -> None:
    got = parse(Drawing, {"shape": {"kind": "square", "side": 2}, "amount": "all"}, where="x.yaml")
    assert got == Drawing(shape=Square(side=2.0), amount="all")


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        (
            {"kind": "square", "sides": 2},
            r"^x\.yaml: shape has no field 'sides'\. Did you mean 'side'\?",
        ),
        (
            {"kind": "circle", "radius": "wide"},
            r"^x\.yaml: shape\.radius: expected a number, found the text 'wide'",
        ),
        (
            {"kind": "squar"},
            r"^x\.yaml: shape\.kind: found 'squar'\. "
            r"Did you mean 'square'\? One of: circle, square",
        ),
        ({"kind": ["square"]}, r"^x\.yaml: shape\.kind: found \['square'\]"),
        ({"side": 2}, r"^x\.yaml: shape: needs the field 'kind', .*One of: circle, square"),
        (3, r"^x\.yaml: shape: expected Circle or Square, found 3"),
    ],
)
def test_an_error_inside_a_union_names_the_field(shape: object, message: str) -> None:
    with pytest.raises(UserError, match=message):
        parse(Drawing, {"shape": shape}, where="x.yaml")


def test_an_error_inside_a_run_file_names_the_field_of_its_recipe_or_task() -> None:
    with pytest.raises(UserError, match=r"^run\.json: recipe\.kind: found 'finetun'"):
        parse(Run, {"recipe": {"kind": "finetun"}, "seed": 0, "parents": []}, where="run.json")
    with pytest.raises(UserError, match=r"^run\.json: recipe\.task\.complexity: found 9"):
        task = {"name": "rotnet", "complexity": 9}
        parse(
            Run,
            {"recipe": {"kind": "pretrain", "task": task, **_REST}, "seed": 0, "parents": []},
            where="run.json",
        )


_REST = {name: {} for name in ("backbone", "data", "view", "schedule")}
_NAMES = st.sampled_from(["teachers", "kind", "run_id", "weight", "x"])
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_NAMES, inner, max_size=3),
    max_leaves=8,
)


@given(_JSON)
def test_any_input_gives_a_value_or_a_user_error(raw: object) -> None:
    try:
        assert isinstance(parse(Mixture, raw, where="x"), Mixture)
    except UserError as error:
        assert str(error).startswith("x")
