"""The report of YAML's parser about a mistake."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

import yaml

KEY = re.compile(r"^(?P<indent> *(?:- +)*)(?P<key>[\w.$-]+):(?: +(?P<value>.*?))?(?: +#.*)?$")
Found = tuple[int, str] | None
"""The line of a mistake, counted from 0, and the message; None where a rule does not apply."""


@dataclass(frozen=True, kw_only=True)
class Problem:
    """The parser's report; lines and columns count from 0. `context` is where the value began
    that it could not finish.
    """

    lines: list[str]
    text: str
    message: str
    line: int
    column: int
    context: str
    context_line: int
    context_column: int

    @property
    def context_sign(self) -> str:
        """The character where the value began; empty where YAML counts columns in another way."""
        return self.lines[self.context_line][self.context_column :][:1]

    def key(self, line: int) -> str:
        """The quoted key of a line; the text of the line where it has none."""
        match = KEY.match(self.lines[line].replace("\t", " "))
        return repr(match["key"]) if match else repr(self.lines[line].strip()[:40])

    @property
    def last_token(self) -> yaml.Token | None:
        """The last token that ends before the problem."""
        last = None
        for token in _tokens(self.text):
            if (token.end_mark.line, token.end_mark.column) > (self.line, self.column):
                break
            if token.end_mark.index > token.start_mark.index:
                last = token
        return last


def read_problem(error: yaml.YAMLError, text: str) -> Problem | None:
    """The problem in a file's text; None where the parser reports no place."""
    lines = text.splitlines() or [""]
    if isinstance(error, yaml.reader.ReaderError):
        line = text.count("\n", 0, error.position)
        message, mark, context = f"the character U+{error.character:04X}", None, None
    elif isinstance(error, yaml.MarkedYAMLError) and error.problem_mark:
        mark, context = error.problem_mark, error.context_mark
        line, message = mark.line, error.problem or ""
    else:
        return None
    return Problem(
        lines=lines,
        text=text,
        message=message,
        line=min(line, len(lines) - 1),
        column=mark.column if mark else 0,
        context=getattr(error, "context", None) or "",
        context_line=context.line if context else -1,
        context_column=context.column if context else -1,
    )


def _tokens(text: str) -> Iterator[yaml.Token]:
    try:
        yield from yaml.scan(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError:
        return
