"""Messages about YAML's syntax name the line of the mistake, its key and what to write."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.inputs import JOBS

from kdbatch.base.errors import UserError
from kdbatch.plan.yaml_loader import load_yaml

MISTAKES = {
    "teachers:\n  T1:\n    title: a\n   backbone: b\n": (
        "x.yaml:4: the line of 'backbone' is indented by 3 spaces, which fits no key above. "
        "Write 4 to align it with 'title' (line 3), or 2 to align it with 'T1' (line 2)."
    ),
    "teachers:\n  T1:\n    title: a\n\n     backbone: b\n": (
        "x.yaml:5: the line of 'backbone' is indented by 5 spaces, which fits no key above. "
        "Write 4 to align it with 'title' (line 3)."
    ),
    "maps:\n  - id: x\n   title: y\n": (
        "x.yaml:3: the line of 'title' is indented by 3 spaces, which fits no key above. "
        "Write 4 to align it with 'id' (line 2)."
    ),
    "rows:\n  - T1\n  title: y\n": (
        "x.yaml:3: 'title' stands among the items of a list. Write it with a - as an item, or "
        "indent it as its own list's key is."
    ),
    "a:\n  b: 1\n\tc: 2\n": (
        "x.yaml:3: the line of 'c' is indented with a tab, and YAML allows spaces alone. Write as "
        "many spaces as the lines around it have."
    ),
    'name: x\ntitle: "T1 net\nvary: {a: [1]}\nnote: "hello"\n': (
        "x.yaml:2: the quote \" that opens in the value of 'title' has its end on line 4. "
        'Write " at the end of the text on line 2.'
    ),
    "name: x\ntitle: 'T1 net\nvary: {a: [1]}\n": (
        "x.yaml:2: the quote ' that opens in the value of 'title' has no end. "
        "Write ' at the end of the text on line 2."
    ),
    "title: 'The student's map'\nb: c\n": (
        "x.yaml:1: the text of 'title' goes on after its closing quote '. Write all of it in one "
        'pair: title: "The student\'s map"'
    ),
    "a: [1, 2]]\nb: c\n": (
        "x.yaml:1: the value of 'a' goes on after its closing ]. Delete what follows it, or write "
        'a text in quotes: a: "[1, 2]]"'
    ),
    "name: x\ntitle: T2: R(2+1)D  # the large one\n": (
        "x.yaml:2: the value of 'title' has a colon. Write it in quotes: title: \"T2: R(2+1)D\""
    ),
    "controls:\n  none: {title: Labels: only, teachers: []}\n": (
        "x.yaml:2: the value of 'title' has a colon. Write it in quotes: title: \"Labels: only\""
    ),
    "a: 1, b: 2\n": (
        "x.yaml:1: the line of 'a' has two keys. Write each on a line of its own, or both in "
        "braces: {a: 1, b: 2}"
    ),
    "b: c\ntitle:T1\n": "x.yaml:2: a space is missing after the colon. Write: title: T1",
    "title:T1\nb: c\n": "x.yaml:1: a space is missing after the colon. Write: title: T1",
    "maps:\n  -id: a\n   title: b\n": (
        "x.yaml:2: a list item needs a space after its -. Write: - id: a"
    ),
    "b: c\ntitle T1\nd: e\n": (
        "x.yaml:2: found 'title T1' where a key belongs. Write KEY: VALUE; a text that continues "
        "the line above is indented further than its key."
    ),
    "a: [1, 2\nb: c\n": (
        "x.yaml:1: the [ that opens in the value of 'a' is not closed. Write ] after its last "
        "value."
    ),
    "a: {x: 1, y: 2\nb: c\n": (
        "x.yaml:1: the { that opens in the value of 'a' is not closed. Write } after its last "
        "value."
    ),
    "title: *student\n": (
        "x.yaml:1: the value of 'title' begins with *, which has a meaning in YAML. Write it in "
        'quotes: title: "*student"'
    ),
    "title: !x y\n": (
        "x.yaml:1: the value of 'title' begins with !, which has a meaning in YAML. Write it in "
        'quotes: title: "!x y"'
    ),
    "keep: @all\n": (
        "x.yaml:1: the value of 'keep' begins with @, which has a meaning in YAML. Write it in "
        'quotes: keep: "@all"'
    ),
    "rows: - T1\n": (
        "x.yaml:1: the list of 'rows' begins on the line of its key. Write it in brackets, "
        "rows: [T1], or each item on a line of its own."
    ),
    "a: b\n---\nc: d\n": ("x.yaml:2: --- begins a second document. Write one experiment per file."),
    'title: "R\\(2"\n': (
        "x.yaml:1: the text of 'title' has a backslash in double quotes, where it has a meaning. "
        "Write the text in single quotes, or two backslashes."
    ),
    "{a}: b\n": (
        "x.yaml:1: found a list or braces as a key in '{a}: b'. Write the text in quotes."
    ),
    "a: b\nc: \x07\n": "x.yaml:2: the character U+0007 is not allowed in YAML. Delete it.",
    "a: b\na: c\n": "x.yaml:2: the key 'a' is given twice. Keep one of the two.",
    "": "x.yaml: the file is empty. Write one field per line, as in: title: My study",
    "# later\n": "x.yaml: the file is empty. Write one field per line, as in: title: My study",
    "- a\n": (
        "x.yaml: expected fields with values, found ['a']. Write one field per line, as in: "
        "title: My study"
    ),
}


@pytest.mark.parametrize("text", MISTAKES)
def test_the_message_names_the_line_the_key_and_what_to_write(in_tmp: Path, text: str) -> None:
    Path("x.yaml").write_text(text)
    with pytest.raises(UserError) as caught:
        load_yaml(Path("x.yaml"))
    assert str(caught.value) == MISTAKES[text]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.data())
def test_a_file_with_any_slip_of_a_key_is_read_or_reported_in_one_line(in_tmp, data) -> None:
    text = (JOBS / "subset_size.yaml").read_text()[:1500]
    place = data.draw(st.integers(0, len(text)))
    typed = data.draw(st.text("\t \n\"'[]{}:-#*&!|>%@`,?\u201cx0", max_size=3))
    removed = data.draw(st.integers(0, 3))
    Path("x.yaml").write_text(text[:place] + typed + text[place + removed :])
    try:
        load_yaml(Path("x.yaml"))
    except UserError as error:
        assert str(error).startswith("x.yaml:") and "\n" not in str(error)
