"""Explains YAML's syntax errors: the line where the mistake was made, its key, and what to write.

The parser reports where it could not go on, which for an open quote is many lines further down, in
words of its grammar.
"""

import re
from collections.abc import Callable

import yaml

from kdbatch.plan.yaml_errors.indentation import explain_indentation, line_above
from kdbatch.plan.yaml_errors.problem import KEY, Found, Problem, read_problem

CLOSING = {"[": "]", "{": "}"}


def explain_yaml_error(error: yaml.YAMLError, text: str) -> tuple[int, str]:
    """The line of a mistake, counted from 1, and the sentences that say what it is and what to
    write; line 0 where it is unknown.
    """
    problem = read_problem(error, text)
    if problem is None:
        return 0, f"is not YAML ({' '.join(str(error).split())})."
    for explain in _EXPLANATIONS:
        if found := explain(problem):
            return found[0] + 1, found[1]
    return problem.line + 1, f"is not YAML ({problem.message})."


def _control_character(problem: Problem) -> Found:
    if not problem.message.startswith("the character U+"):
        return None
    return problem.line, f"{problem.message} is not allowed in YAML. Delete it."


def _tab(problem: Problem) -> Found:
    for i, line in enumerate(problem.lines[: problem.line + 1]):
        if "\t" in line[: len(line) - len(line.lstrip())]:
            return i, (
                f"the line of {problem.key(i)} is indented with a tab, and YAML allows spaces "
                "alone. Write as many spaces as the lines around it have."
            )
    return None


def _open_quote(problem: Problem) -> Found:
    start, end, quote = problem.context_line, -1, ""
    if problem.context == "while scanning a quoted scalar":
        quote = problem.context_sign
    elif isinstance(token := problem.last_token, yaml.ScalarToken) and token.style in ('"', "'"):
        start, end, quote = token.start_mark.line, token.end_mark.line, token.style
    if not quote or start == end:
        return None
    until = f"has its end on line {end + 1}" if end >= 0 else "has no end"
    return start, (
        f"the quote {quote} that opens in the value of {problem.key(start)} {until}. "
        f"Write {quote} at the end of the text on line {start + 1}."
    )


def _after_closing(problem: Problem) -> Found:
    """Something follows a closing quote or bracket on the same line."""
    token, line = problem.last_token, problem.line
    if "expected <block end>" not in problem.message or token is None:
        return None
    if token.end_mark.line != line or not (match := KEY.match(problem.lines[line])):
        return None
    key, value = match["key"], match["value"] or ""
    if isinstance(token, yaml.ScalarToken) and token.style:
        advice = f"Write all of it in one pair: {key}: {_quoted(value.strip(token.style))}"
        return line, f"the text of {key!r} goes on after its closing quote {token.style}. {advice}"
    if isinstance(token, yaml.FlowSequenceEndToken | yaml.FlowMappingEndToken):
        bracket = "]" if isinstance(token, yaml.FlowSequenceEndToken) else "}"
        return line, (
            f"the value of {key!r} goes on after its closing {bracket}. Delete what follows it, or "
            f"write a text in quotes: {key}: {_quoted(value)}"
        )
    return None


def _open_bracket(problem: Problem) -> Found:
    if not problem.context.startswith("while parsing a flow "):
        return None
    start = problem.context_line
    if name := re.search(r"\$\{(\w+)\}?", problem.lines[problem.line]):
        return problem.line, f"found {name[0]}. Write the name without braces: ${name[1]}"
    bracket = problem.context_sign or "["
    if problem.message.endswith("got ':'") and problem.line == start:
        return _colon_in_braces(problem)
    return start, (
        f"the {bracket} that opens in the value of {problem.key(start)} is not closed. "
        f"Write {CLOSING.get(bracket, bracket)} after its last value."
    )


def _colon_in_braces(problem: Problem) -> Found:
    line = problem.lines[problem.line]
    before = re.split(r"[{\[,]", line[: problem.column])[-1]
    after = re.split(r"[}\],]", line[problem.column :])[0]
    key, _, value = (before + after).strip().partition(": ")
    return problem.line, _colon_message(key, value)


def _colon_message(key: str, value: str) -> str:
    return f"the value of {key!r} has a colon. Write it in quotes: {key}: {_quoted(value)}"


def _colon(problem: Problem) -> Found:
    if problem.message != "mapping values are not allowed here":
        return None
    match = KEY.match(problem.lines[problem.line])
    if match and match["value"] and problem.column > match.end("key"):
        key, value = match["key"], match["value"]
        if re.match(r"[^\"']*?, *[\w-]+: ", value):
            both = f"{{{key}: {value}}}"
            return problem.line, (
                f"the line of {key!r} has two keys. Write each on a line of its own, or both in "
                f"braces: {both}"
            )
        return problem.line, _colon_message(key, value)
    above = line_above(problem, problem.line)
    return _missing_space(problem, above) or explain_indentation(problem, problem.line)


def _missing_space(problem: Problem, line: int) -> Found:
    """`title:T1` or `-id: x`, which are texts."""
    text = problem.lines[line].strip() if line >= 0 else ""
    if match := re.match(r"-[A-Za-z_]\w*: ", text):
        return line, f"a list item needs a space after its -. Write: - {text[1:]}"
    if match := re.match(r"((?:- +)?[\w-]+):\u00a0*(\S.*)", text):
        return line, f"a space is missing after the colon. Write: {match[1]}: {match[2]}"
    return None


def _no_colon(problem: Problem) -> Found:
    if problem.message != "could not find expected ':'":
        return None
    line = problem.context_line
    text = problem.lines[line].strip()
    return _missing_space(problem, line) or (
        line,
        f"found {text[:60]!r} where a key belongs. Write KEY: VALUE; a text that continues the "
        "line above is indented further than its key.",
    )


def _indentation(problem: Problem) -> Found:
    starts = ("<block mapping start>", "'?'", "'-'", "<block sequence start>")
    if "but found" in problem.message and any(start in problem.message for start in starts):
        return explain_indentation(problem, problem.line)
    return None


def _special_start(problem: Problem) -> Found:
    """A value that begins with one of YAML's own signs: @ % ` * & ! or a dash."""
    match = KEY.match(problem.lines[problem.line])
    is_dash = problem.message == "sequence entries are not allowed here"
    signs = ("cannot start any token", "undefined alias", "constructor for the tag", "alphabetic")
    if not match or not match["value"] or not (is_dash or any(s in problem.message for s in signs)):
        return None
    key, value = match["key"], match["value"]
    if is_dash:
        return problem.line, (
            f"the list of {key!r} begins on the line of its key. Write it in brackets, "
            f"{key}: [{value.lstrip('- ')}], or each item on a line of its own."
        )
    return problem.line, (
        f"the value of {key!r} begins with {value[0]}, which has a meaning in YAML. Write it in "
        f"quotes: {key}: {_quoted(value)}"
    )


def _others(problem: Problem) -> Found:
    line, key = problem.line, problem.key(problem.line)
    if "another document" in problem.message:
        return line, "--- begins a second document. Write one experiment per file."
    if "unknown escape character" in problem.message:
        return line, (
            f"the text of {key} has a backslash in double quotes, where it has a meaning. Write "
            "the text in single quotes, or two backslashes."
        )
    if "is given twice" in problem.message:
        return line, f"{problem.message}. Keep one of the two."
    if "unhashable key" in problem.message or "a key must be" in problem.message:
        return line, f"found a list or braces as a key in {key}. Write the text in quotes."
    return None


def _quoted(value: str) -> str:
    """A text in quotes that it does not contain; typographic quotes around it are removed."""
    value = value.strip().strip("\u201c\u201d\u201e\u2018\u2019")
    if '"' not in value and "\\" not in value:
        return f'"{value}"'
    return "'" + value.replace("'", "''") + "'"


_EXPLANATIONS: tuple[Callable[[Problem], Found], ...] = (
    _control_character,
    _tab,
    _open_quote,
    _after_closing,
    _open_bracket,
    _colon,
    _no_colon,
    _indentation,
    _special_start,
    _others,
)
