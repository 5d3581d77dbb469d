"""Explains an indentation by the lines above it."""

from kdbatch.plan.yaml_errors.problem import KEY, Found, Problem


def explain_indentation(problem: Problem, line: int) -> Found:
    """Advice by the lines above: the nearest ones with more and with fewer spaces."""
    found = _indent(problem.lines[line])
    more = fewer = None
    above = line_above(problem, line)
    while above >= 0 and fewer is None:
        indent = _indent(problem.lines[above])
        if indent > found:
            more = above
        else:
            fewer = above
        above = line_above(problem, above)
    places = [
        f"{_key_column(problem.lines[i])} to align it with {problem.key(i)} (line {i + 1})"
        for i in (more, fewer)
        if i is not None and _key_column(problem.lines[i]) != found
    ]
    if not places:
        return line, (
            f"{problem.key(line)} stands among the items of a list. Write it with a - as an item, "
            "or indent it as its own list's key is."
        )
    spaces = "1 space" if found == 1 else f"{found} spaces"
    return line, (
        f"the line of {problem.key(line)} is indented by {spaces}, which fits no key above. "
        f"Write {', or '.join(places)}."
    )


def line_above(problem: Problem, line: int) -> int:
    """The nearest line above that is neither empty nor a comment; -1 if there is none."""
    for i in range(line - 1, -1, -1):
        if problem.lines[i].strip() and not problem.lines[i].lstrip().startswith("#"):
            return i
    return -1


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _key_column(line: str) -> int:
    """The column of a line's key, which in a list item comes after the dash."""
    match = KEY.match(line)
    return len(match["indent"]) if match else _indent(line)
