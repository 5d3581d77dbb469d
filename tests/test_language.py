"""The language of the code: each public name is defined once, and docstrings are plain English."""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "kdbatch"
MODULES = sorted(PACKAGE.rglob("*.py"))
MAX_COLUMNS = 100

PER_TASK = "one per pretext task"
MAY_REPEAT = {
    "PRETEXT": PER_TASK,
    "SPEC": PER_TASK,
    "at_complexity": PER_TASK,
    "build_model": PER_TASK,
    "chance_accuracy": PER_TASK,
    "sample_clips": PER_TASK,
    "T": "a type variable, of its own module",
    "main": "an entry point, of its own program",
}

MAY_SHADOW = {"html": "a package, which is always imported by its whole path, kdbatch.report.html"}

# Sentences that start with a noun clause instead of a subject. "What ... is" would be correct
# English, but has to be read twice.
HEADLESS = re.compile(r"(?:^|[.:]\s+)(?:What|Who|Whoever|Of)\b(?![^.]*\?)")
THAT_CLAUSE = re.compile(r"(?:^|\.\s+)That (?!is\b)")

# A word or pattern -> what to write instead.
BANNED = {
    r"\banew\b": "again",
    r"\bbeside\b": "next to, or in addition to",
    r"\bmeanwhile\b": "at the same time",
    r"\bnevertheless\b": "still",
    r"\bwho(?:ever)? asks\b": "the caller",
    r"\b(?:is|are|was|were) told\b": "is given, or receives",
    r"\btold apart\b": "distinguished",
    r"\bsays? so\b": "the condition itself",
    r"\bof (?:its|their) own accord\b": "without being asked, or on its own",
    r"\band the like\b": "the complete list, or 'for example' before it",
    r"\bas far as\b": "the condition itself",
    r"\bnobody (?:asks|looks|waits|reads)\b": "the passive voice",
    r"\bfor ever\b": "without end, or never",
}


def _docstrings(path: Path) -> Iterator[tuple[int, str]]:
    """(line, text) of every docstring of a file, also of those below a constant."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        match node:
            case ast.Expr(value=ast.Constant(value=str(text))):
                yield node.lineno, text


def _error_messages(path: Path) -> Iterator[tuple[int, str]]:
    """(line, text) of every argument of UserError(...), with … for each value that is filled in."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("UserError"):
            for argument in node.args:
                yield node.lineno, "".join(_parts(argument))


def _parts(node: ast.expr) -> Iterator[str]:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.JoinedStr):
        for value in node.values:
            yield from _parts(value)
    elif isinstance(node, ast.BinOp | ast.IfExp):
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.expr):
                yield from _parts(child)
    else:
        yield "…"


def _problems(text: str) -> list[str]:
    """The banned words in a text, without what stands in backquotes."""
    prose = re.sub(r"`[^`]*`", "…", text)
    prose = re.sub(r"[^\S\n]*\n[^\S\n]*(?=\S)", " ", prose)  # one line per paragraph
    problems = [
        f"{match[0]!r}: write {instead}"
        for pattern, instead in BANNED.items()
        if (match := re.search(pattern, prose, re.IGNORECASE))
    ]
    for paragraph in prose.split("\n"):
        for pattern in (HEADLESS, THAT_CLAUSE):
            if match := pattern.search(paragraph.strip()):
                start = paragraph.strip()[match.start() : match.start() + 40]
                problems.append(f"{start!r}: start the sentence with its subject")
    return problems


def _where(path: Path, line: int) -> str:
    return f"{path.relative_to(PACKAGE.parent)}:{line}"


def _public_names(path: Path) -> Iterator[str]:
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                names = [node.name]
            case ast.Assign():
                names = [target.id for target in node.targets if isinstance(target, ast.Name)]
            case ast.AnnAssign(target=ast.Name(id=name)):
                names = [name]
            case _:
                names = []
        yield from (name for name in names if not name.startswith("_"))


def test_no_public_name_is_defined_in_two_modules() -> None:
    homes: dict[str, list[str]] = {}
    for path in MODULES:
        for name in set(_public_names(path)):
            homes.setdefault(name, []).append(_where(path, 1))
    repeated = {name: paths for name, paths in homes.items() if len(paths) > 1}
    assert {name: paths for name, paths in repeated.items() if name not in MAY_REPEAT} == {}
    assert set(MAY_REPEAT) <= set(repeated), "remove the names that are no longer repeated"


def test_no_module_is_named_like_one_of_the_standard_library() -> None:
    packages = [path.parent for path in MODULES if path.name == "__init__.py"]
    stems = {path.stem for path in (*MODULES, *packages)}
    assert stems & set(sys.stdlib_module_names) == set(MAY_SHADOW)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_docstrings_and_messages_are_plain_english(path: Path) -> None:
    found = [
        f"{_where(path, line)}: {problem}"
        for line, text in (*_docstrings(path), *_error_messages(path))
        for problem in _problems(text)
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_the_first_line_of_a_module_is_a_sentence_that_fits_a_line(path: Path) -> None:
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")), clean=False)
    assert docstring, f"{_where(path, 1)}: has no docstring"
    first = docstring.split("\n")[0]
    num_quotes = 6 if first == docstring else 3
    assert first.endswith("."), f"{_where(path, 1)}: its first line does not end with a full stop"
    assert len(first) + num_quotes <= MAX_COLUMNS, f"{_where(path, 1)}: its first line is too long"


def test_banned_words_are_found_and_correct_sentences_are_not() -> None:
    for text in (
        "What the names begin with.",
        "Reads a file. Of each, the first line.",
        "Makes it anew.",
        "A list that who asks gets.",
        "Reads a file.\n\n    That it exists is checked.",
    ):
        assert _problems(text), text
    for text in (
        "Names of keys start with `anew`.",
        "Returns the value. That is the largest one.",
        "The parts of a file, of which one is read.",
    ):
        assert not _problems(text), text
