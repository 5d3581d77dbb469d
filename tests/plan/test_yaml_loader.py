from pathlib import Path

import pytest

from kdbatch.base.errors import UserError
from kdbatch.plan.yaml_loader import load_yaml

LAUGHS = "\n".join(
    ["l0: &l0 [ha]", *(f"l{i}: &l{i} [{', '.join([f'*l{i - 1}'] * 9)}]" for i in range(1, 12))]
)


@pytest.fixture
def written(in_tmp: Path):
    def write(text: str) -> Path:
        (in_tmp / "x.yaml").write_text(text)
        return Path("x.yaml")

    return write


def test_an_alias_repeats_what_stands_elsewhere(written) -> None:
    path = written("a: &a {target: ucf101}\nb: [*a, *a]")
    assert load_yaml(path) == {"a": {"target": "ucf101"}, "b": [{"target": "ucf101"}] * 2}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            "student: &s\n  title: S\n  loop: *s",
            r"^x\.yaml\.student\.loop: an alias \(\*\) puts this inside itself",
        ),
        (
            "maps: &m [{id: a}, {at: *m}]",
            r"^x\.yaml\.maps\[1\]\.at: an alias \(\*\) puts this inside itself",
        ),
        (LAUGHS, r"^x\.yaml: aliases \(\*\) make more than 100000 lists and mappings of it"),
    ],
)
def test_aliases_without_an_end_are_one_line(written, text: str, says: str) -> None:
    with pytest.raises(UserError, match=says) as caught:
        load_yaml(written(text))
    assert "\n" not in str(caught.value)
