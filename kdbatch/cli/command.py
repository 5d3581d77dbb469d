"""What stands between the shell and fire.

Fire runs a command before it looks at what is left on the line, reads `12e4567` as infinity, and
lets `--flag` swallow the next word. So every word is checked against the command's signature first,
fire only dispatches, and the command itself runs after fire is done.
"""

import inspect
import os
import shlex
import sys
from collections.abc import Callable, Collection, Sequence
from functools import wraps
from pathlib import Path
from typing import Any, get_type_hints

import fire
from fire.decorators import SetParseFn

from kdbatch import __version__
from kdbatch.base.errors import UserError
from kdbatch.base.lookup import did_you_mean

SHORT_FLAGS = {"-f": "--follow"}
WORKER_PACKAGES = {
    "av",
    "decord",
    "safetensors",
    "torch",
    "torchvision",
    "webdataset",
}  # the extra of that name in pyproject.toml
HELP_WORDS = {"-h", "--help", "-help", "help"}


class Deferred:
    """A call that was asked for. Fire cannot look inside, so words that are left over are an error
    before anything has run.
    """

    __slots__ = ("call",)

    def __init__(self, call: Callable[[], int | None]) -> None:
        self.call = call

    def __dir__(self) -> list[str]:
        return []


def command(function: Callable[..., int | None]) -> Callable[..., Deferred]:
    """Mark a method as a command: its arguments arrive as typed, are converted by annotation, and
    it runs when fire is done.
    """

    @wraps(function)
    def deferred(*args: Any, **kwargs: Any) -> Deferred:
        hints = get_type_hints(function)
        bound = inspect.signature(function).bind(*args, **kwargs)
        converted = {
            name: _convert(hints.get(name, str), value, name)
            for name, value in bound.arguments.items()
            if name != "self"
        }
        positional = converted.pop(_variadic_name(function), ())
        return Deferred(lambda: function(args[0], *positional, **converted))

    return SetParseFn(str)(deferred)


def dispatch(commands: object, argv: Sequence[str]) -> int:
    """Run one command line. Returns the exit code: 0; 2 after a slip, an OSError or without the
    worker's packages; 130 after Ctrl-C.
    """
    try:
        return _dispatch(commands, list(argv))
    except UserError as error:
        print(f"kdbatch: {error}", file=sys.stderr)
        return 2
    except ModuleNotFoundError as error:
        if error.name not in WORKER_PACKAGES:
            raise
        print(
            f"kdbatch: {_missing_package(error.name, shlex.join(['kdbatch', *argv]))}",
            file=sys.stderr,
        )
        return 2
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # the reader of a pipe, such as head, has left
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:  # a disk that is full, a folder that is another's
        print(
            f"kdbatch: {f'{error.filename}: {error.strerror}' if error.filename else error}",
            file=sys.stderr,
        )
        return 2


def _missing_package(package: str, line: str) -> str:
    """What to do where only the host part is installed, as on a login node."""
    elsewhere = f"in the image, which has it: apptainer exec IMAGE {line}"
    if line.startswith("kdbatch shard ") and not line.startswith("kdbatch shard verify"):
        elsewhere = f"let a node of SLURM do it: {line} --slurm"
    return f"this needs {package}, which is not installed here. Install it with the worker part: pip install 'kdbatch[worker]'; or {elsewhere}"


def _dispatch(commands: object, argv: list[str]) -> int:
    known = {name.replace("_", " "): getattr(commands, name) for name in commands.__dir__()}
    argv = _join_name(argv, known)
    if "--version" in argv[:1]:
        print(f"kdbatch {__version__}")
        return 0
    wants_help = not argv or any(word in HELP_WORDS for word in argv)
    name = next((word for word in argv if word not in HELP_WORDS), "")
    if wants_help and name not in known:
        print(_overview(commands, known))
        return 0
    if name not in known or (argv[0] != name and not wants_help):
        said = (
            " ".join(argv[:2])
            if any(other.startswith(f"{argv[0]} ") for other in known)
            else argv[0]
        )
        raise UserError(
            f"no command {said!r}.{did_you_mean(said, known)} Commands: {', '.join(known)}."
        )
    if wants_help:
        print(_usage(name, known[name]))
        return 0
    deferred = fire.Fire(
        commands,
        command=[name.replace(" ", "_"), *check_arguments(name, known[name], argv[1:])],
        name="kdbatch",
        serialize=lambda _: None,
    )
    assert isinstance(deferred, Deferred)
    return deferred.call() or 0


def _join_name(argv: list[str], known: Collection[str]) -> list[str]:
    """`shard verify` is the name of one command, of the method shard_verify: its two words become
    one.
    """
    place = next((i for i, word in enumerate(argv) if word not in HELP_WORDS), 0)
    name = " ".join(argv[place : place + 2])
    return [*argv[:place], name, *argv[place + 2 :]] if name in known else argv


def check_arguments(name: str, function: Callable[..., Any], arguments: Sequence[str]) -> list[str]:
    """The words of one command, each flag joined to its value and known to the command.

    Raises:
        UserError: an unknown flag, a flag without its value, too many or too few words.
    """
    parameters = {p.name: p for p in inspect.signature(function).parameters.values()}
    flags = {p.name: p for p in parameters.values() if p.kind is p.KEYWORD_ONLY}
    hints = get_type_hints(inspect.unwrap(function))
    spelled = [f"--{flag.replace('_', '-')}" for flag in flags]
    plain, joined, rest = [], [], iter(arguments)
    for word in rest:
        if not word.startswith("-"):
            plain.append(word)
            continue
        spelling, equals, value = word.partition("=")
        if SHORT_FLAGS.get(spelling, "")[2:] in flags:
            spelling = SHORT_FLAGS[spelling]
        flag = spelling.removeprefix("--").replace("-", "_")
        if not spelling.startswith("--") or flag not in flags:
            raise UserError(
                f"{name}: no flag {spelling}.{did_you_mean(spelling, spelled)} Flags: {', '.join(spelled) or 'none'}."
            )
        if hints[flag] is bool:
            value = value if equals else "true"
        elif not equals:
            value = next(rest, "--")
            if value.startswith("--"):
                raise UserError(f"{name}: {spelling} needs a value, as in {spelling}=VALUE.")
        joined.append(f"--{flag}={value}")
    _check_positional(name, function, parameters, plain)
    return plain + joined


def _check_positional(
    name: str,
    function: Callable[..., Any],
    parameters: dict[str, inspect.Parameter],
    plain: list[str],
) -> None:
    places = [p for p in parameters.values() if p.kind is p.POSITIONAL_OR_KEYWORD]
    rest = _variadic_name(function)
    needed = [p.name.upper() for p in places if p.default is p.empty]
    if len(plain) < len(needed):
        raise UserError(f"{name}: needs {' '.join(needed)}. Type: kdbatch {name} --help")
    if not rest and len(plain) > len(places):
        raise UserError(
            f"{name}: {plain[len(places)]!r} is one word too many. Type: kdbatch {name} --help"
        )


def _variadic_name(function: Callable[..., Any]) -> str:
    """The name of a command's `*words`, or nothing."""
    return next(
        (
            p.name
            for p in inspect.signature(function).parameters.values()
            if p.kind is p.VAR_POSITIONAL
        ),
        "",
    )


def _convert(hint: Any, value: Any, name: str) -> Any:
    if isinstance(value, tuple):
        return tuple(_convert(hint, v, name) for v in value)
    if not isinstance(value, str):
        return value
    flag = f"--{name.replace('_', '-')}"
    if hint is bool:
        if value.lower() not in ("true", "false"):
            raise UserError(f"{flag}: found {value!r}. Write {flag} or {flag}=false.")
        return value.lower() == "true"
    if hint in (int, float):
        try:
            return hint(value)
        except ValueError as error:
            raise UserError(
                f"{flag}: found {value!r}, expected {'a whole number' if hint is int else 'a number'}."
            ) from error
    if not value:
        raise UserError(f"{flag}: is empty.")
    return Path(value) if hint is Path else value


def _overview(commands: object, known: dict[str, Any]) -> str:
    lines = [inspect.getdoc(commands) or "", "", "Commands:"]
    width = max(map(len, known))
    lines += [
        f"  {name:{width}} {(inspect.getdoc(function) or '').splitlines()[0]}"
        for name, function in known.items()
    ]
    return "\n".join(
        [
            *lines,
            "",
            "Type kdbatch COMMAND --help for the flags of one; kdbatch --version for the version.",
        ]
    )


def _usage(name: str, function: Callable[..., Any]) -> str:
    parameters = inspect.signature(function).parameters.values()
    words = [
        p.name.upper() if p.kind is p.POSITIONAL_OR_KEYWORD else f"[{p.name.upper()}...]"
        for p in parameters
        if p.kind != p.KEYWORD_ONLY
    ]
    flags = [p for p in parameters if p.kind is p.KEYWORD_ONLY]
    hints = get_type_hints(inspect.unwrap(function))
    lines = [
        " ".join(["usage: kdbatch", name, *words, *(["[--flags]"] if flags else [])]),
        "",
        inspect.getdoc(function) or "",
    ]
    if flags:
        lines += ["", "Flags:"]
    for flag in flags:
        spelled = f"--{flag.name.replace('_', '-')}" + (
            "" if hints[flag.name] is bool else f"={_kind(hints[flag.name])}"
        )
        default = (
            ""
            if hints[flag.name] is bool or flag.default in ("", 0)
            else f"  (default {flag.default})"
        )
        lines.append(f"  {spelled}{default}")
    return "\n".join(lines)


def _kind(hint: Any) -> str:
    return {int: "N", float: "X", Path: "PATH"}.get(hint, "WORD")
