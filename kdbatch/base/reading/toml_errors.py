"""Explains TOML's syntax errors: the line, its key, and what to write."""

import re
import tomllib

LINE = re.compile(r"\s*(?:- *)?(?P<key>[\w.-]+)\s*(?P<sign>[=:]?)\s*(?P<value>.*?)\s*(?:\s#.*)?$")
TYPOGRAPHIC_QUOTES = "\u201c\u201d\u201e\u2018\u2019"


def explain_toml_error(error: tomllib.TOMLDecodeError, text: str) -> tuple[int, str]:
    """The line of a mistake, counted from 1, and the sentences that say what it is and what to
    write.
    """
    lines = text.splitlines() or [""]
    place = re.search(r" \(at line (\d+), column \d+\)$", str(error))
    problem = re.sub(r" \(at .*\)$", "", str(error))
    number = min(int(place[1]), len(lines)) if place else _open_quote(lines)
    line = lines[number - 1]
    if message := _of_whole_line(problem, line):
        return number, message
    if problem.startswith("Unclosed array") or problem.startswith("Invalid initial character"):
        return _open_bracket(lines, number)
    match = LINE.match(line)
    if match and match["key"]:
        return number, _of_key(problem, match["key"], match["sign"], match["value"])
    return number, f"is not TOML ({problem})."


def _open_quote(lines: list[str]) -> int:
    """The first line with an odd number of quotes of one kind; the last line if there is none."""
    odd = (i for i, line in enumerate(lines, 1) if line.count("'") % 2 or line.count('"') % 2)
    return next(odd, len(lines))


def _of_whole_line(problem: str, line: str) -> str:
    if problem.startswith(("Cannot declare", "Cannot overwrite", "Cannot mutate")):
        return f"{line.strip()} is there twice. Put what belongs together in one place."
    if "end of a table declaration" in problem:
        return f"the name of a table is not closed. Write: {line.strip().rstrip(']')}]"
    if problem.startswith("Illegal character") and "\\n" not in problem:
        return f"{problem[0].lower()}{problem[1:]}. Delete it."
    return ""


def _open_bracket(lines: list[str], number: int) -> tuple[int, str]:
    """The line where a list or braces without an end open, and what to write there."""
    for i in range(number, 0, -1):
        match = LINE.match(lines[i - 1])
        if match and match["sign"] and _is_open(match["value"]):
            ends = {"[": "] after its last value, and a comma between two", "{": "} on that line"}
            return i, (
                f"the {match['value'][0]} that opens in the value of {match['key']!r} is not "
                f"closed. Write {ends[match['value'][0]]}."
            )
    return number, "a list is not closed. Write ] after its last value."


def _is_open(value: str) -> bool:
    """Whether a list or braces begin here that do not end here as they should."""
    closing = {"[": "]", "{": "}"}.get(value[:1], "")
    return bool(closing) and (not value.endswith(closing) or bool(re.search(r'" *"', value)))


def _of_key(problem: str, key: str, sign: str, value: str) -> str:
    """The mistake in the value of a key, and the line to write."""
    if sign != "=":
        return f"a key and its value are joined by =. Write: {key} = {_as_value(value)}"
    if not value:
        return f"the key {key!r} has no value. Write one, or delete the line."
    if problem.startswith("Illegal character") or problem.startswith('Expected "\'"'):
        return f"a quote in the value of {key!r} has no end. Write: {key} = {value}{value[0]}"
    if "Unescaped" in problem or "escape" in problem:
        text = value.strip('"')
        return f"a backslash has a meaning in double quotes. Write: {key} = '{text}'"
    if value.lower() in ("none", "null", "nil"):
        return f"TOML has no {value}. Delete the line of {key!r}."
    if value[0] in "[{":
        return f'in the value of {key!r}, a text has no quotes. Write every text as "TEXT".'
    if value[0] in "\"'":
        return f"the value of {key!r} goes on after its closing quote. Write one text in one pair."
    if value[0].isdigit():
        return (
            f"the value of {key!r}, {value}, is no number. Write digits alone, without a unit, or "
            f"a text in quotes: {key} = {_quoted(value)}"
        )
    return (
        f"the value of {key!r} is neither a number nor a text in quotes. "
        f"Write: {key} = {_as_value(value)}"
    )


def _as_value(value: str) -> str:
    """A value as TOML writes it: booleans in small letters, numbers as they are, texts quoted."""
    word = {"yes": "true", "on": "true", "no": "false", "off": "false"}.get(value.lower(), value)
    if word.lower() in ("true", "false"):
        return word.lower()
    is_whole = re.fullmatch(r"[-+]?\d+(\.\d+)?|\".*\"|'.*'|\[.*\]|\{.*\}", word)
    return word if is_whole else _quoted(word)


def _quoted(value: str) -> str:
    text = value.strip(TYPOGRAPHIC_QUOTES + "\"'")
    return f"'{text}'" if "\\" in text or '"' in text else f'"{text}"'
