from collections.abc import Callable
from pathlib import Path

import pytest
from support.inputs import JOBS

from kdbatch.base.errors import UserError
from kdbatch.plan import yaml_loader
from kdbatch.plan.yaml_loader import load_yaml

BILLION_LAUGHS = "\n".join(
    ["l0: &l0 [ha]", *(f"l{i}: &l{i} [{', '.join([f'*l{i - 1}'] * 9)}]" for i in range(1, 12))]
)


@pytest.fixture
def write_yaml(in_tmp: Path) -> Callable[[str], Path]:
    def write(text: str) -> Path:
        (in_tmp / "x.yaml").write_text(text)
        return Path("x.yaml")

    return write


def test_an_alias_repeats_the_value_that_it_names(write_yaml) -> None:
    path = write_yaml("a: &a {target: ucf101}\nb: [*a, *a]")
    assert load_yaml(path) == {"a": {"target": "ucf101"}, "b": [{"target": "ucf101"}] * 2}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "student: &s\n  title: S\n  loop: *s",
            r"^x\.yaml: student\.loop: an alias \(\*\) puts this inside itself",
        ),
        (
            "maps: &m [{id: a}, {at: *m}]",
            r"^x\.yaml: maps\[1\]\.at: an alias \(\*\) puts this inside itself",
        ),
        (
            BILLION_LAUGHS,
            r"^x\.yaml: aliases \(\*\) make more than 100,000 values of it",
        ),
    ],
)
def test_endless_aliases_are_reported_in_one_line(write_yaml, text: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        load_yaml(write_yaml(text))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("path", sorted(JOBS.rglob("*.yaml")), ids=lambda path: path.stem)
def test_a_shipped_file_has_equal_values_without_libyaml(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fast = load_yaml(path)
    monkeypatch.setattr(yaml_loader, "_FastLoader", yaml_loader._Loader)
    assert load_yaml(path) == fast
