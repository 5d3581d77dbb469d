"""Checks the arguments of a command against its signature, and converts them."""

import inspect
import re
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any, get_args, get_type_hints

from kdbatch.base.command_lines import help_command
from kdbatch.base.errors import UserError
from kdbatch.base.lookup import did_you_mean
from kdbatch.base.reading.field_facts import limits_of
from kdbatch.base.reading.shown_values import shown
from kdbatch.base.study_folder import expand_home
from kdbatch.base.text import plural

SHORT_FLAGS = {"-f": "--follow", "-p": "--profile"}
DASHES = "\u2010\u2011\u2012\u2013\u2014\u2212"  # what word processors make of - and --


def check_arguments(name: str, function: Callable[..., Any], arguments: Sequence[str]) -> list[str]:
    """The arguments of one command, each flag joined to its value and known to the command.

    Raises:
        UserError: an unknown flag, a flag without its value, too many or too few arguments.
    """
    parameters = list(inspect.signature(function).parameters.values())
    flags = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY]
    hints = get_type_hints(inspect.unwrap(function))
    spelled = [f"--{flag.replace('_', '-')}" for flag in flags]
    plain, joined, rest = [], [], iter(arguments)
    for word in rest:
        if not word.startswith(("-", *DASHES)):
            _check_is_no_flag(name, word, flags)
            plain.append(word)
            continue
        spelling, equals, value = word.partition("=")
        if SHORT_FLAGS.get(spelling, "")[2:] in flags:
            spelling = SHORT_FLAGS[spelling]
        flag = spelling.removeprefix("--").replace("-", "_")
        if not spelling.startswith("--") or flag not in flags:
            raise _unknown_flag(name, spelling, spelled)
        if hints[flag] is bool:
            value = value if equals else "true"
        elif not equals:
            value = next(rest, "--")
            if value.startswith("--"):
                raise UserError(f"{name}: {spelling} needs a value, as in {spelling}=VALUE.")
        joined.append(f"--{flag}={value}")
    _check_positional(name, function, parameters, plain)
    return plain + joined


def _check_is_no_flag(name: str, word: str, flags: Collection[str]) -> None:
    """`profile=micro` without its dashes."""
    flag, equals, _ = word.partition("=")
    if equals and flag.replace("-", "_") in flags:
        raise UserError(f"{name}: found {word}. Did you mean --{word}?")


def _unknown_flag(name: str, spelling: str, spelled: Sequence[str]) -> UserError:
    """The error with the nearest flag, or the one with the letter of a short flag."""
    letters = spelling.lstrip("-" + DASHES)
    near = did_you_mean(f"--{letters}", spelled)
    if len(letters) == 1 or not near:
        initial = [flag for flag in spelled if letters and flag.startswith(f"--{letters[0]}")]
        near = f" Did you mean {initial[0]!r}?" if len(letters) == 1 and initial else near
    return UserError(f"{name}: no flag {spelling}.{near} Flags: {', '.join(spelled) or 'none'}.")


def _check_positional(
    name: str,
    function: Callable[..., Any],
    parameters: list[inspect.Parameter],
    given: list[str],
) -> None:
    positional = [p for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
    needed = [p.name.upper() for p in positional if p.default is p.empty]
    if len(given) < len(needed):
        raise UserError(f"{name}: needs {' '.join(needed)}. Type: {help_command(name)}")
    if not variadic_name(function) and len(given) > len(positional):
        extra, takes = given[len(positional)], plural(len(positional), "argument")
        hint = f"Type: {help_command(name)}"
        raise UserError(
            f"{name} takes {takes if positional else 'no arguments'}, found "
            f"{'also ' if positional else ''}{extra!r}. {hint}"
        )


def variadic_name(function: Callable[..., Any]) -> str:
    """The name of a command's `*arguments`; empty without them."""
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind is parameter.VAR_POSITIONAL:
            return parameter.name
    return ""


def without_facts(hint: Any) -> Any:
    """A type without what Annotated adds to it."""
    return get_args(hint)[0] if hasattr(hint, "__metadata__") else hint


def convert(hint: Any, value: Any, name: str) -> Any:
    """The value of the argument `name`, from the string that was typed."""
    if isinstance(value, tuple):
        return tuple(convert(hint, v, name) for v in value)
    if not isinstance(value, str):
        return value
    flag = f"--{name.replace('_', '-')}"
    limits, hint = limits_of(hint), without_facts(hint)
    if hint is bool:
        if value.lower() not in ("true", "false"):
            raise UserError(f"{flag}: found {value!r}. Write {flag} or {flag}=false.")
        return value.lower() == "true"
    if hint in (int, float):
        try:
            number = hint(value)
        except ValueError as error:
            expected = "a whole number" if hint is int else "a number"
            is_share = hint is float and re.fullmatch(r"\d{1,9}(\.\d{1,9})?%", value)
            hint_text = f" Write {float(value[:-1]) / 100:g}." if is_share else ""
            found = f"{flag}: found {shown(value)}, expected {expected}."
            raise UserError(f"{found}{hint_text}") from error
        if limits:
            limits.check(number, where=flag)
        return number
    if not value:
        raise UserError(f"{flag}: is empty. Write a value, as in {flag}=VALUE.")
    return expand_home(value) if hint is Path else value
