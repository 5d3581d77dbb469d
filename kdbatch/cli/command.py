"""The checks between the shell and fire, so that no command runs with unknown or malformed flags.

Fire runs a command before it reports unused arguments, reads `12e4567` as infinity, and takes the
argument after a boolean `--flag` as its value. So every argument is checked against the command's
signature first, fire only dispatches, and the command itself runs after fire has returned.
"""

import inspect
import textwrap
from collections.abc import Callable, Collection, Sequence
from functools import wraps
from pathlib import Path
from typing import Any, get_type_hints

import fire
from fire.decorators import SetParseFn

from kdbatch import __version__
from kdbatch.base.command_lines import command_line, help_command, plan_command
from kdbatch.base.errors import STANDARD_OUTPUT, UserError, os_error_line
from kdbatch.base.lookup import did_you_mean
from kdbatch.cli.arguments.signature import SHORT_FLAGS, check_arguments, convert, variadic_name
from kdbatch.cli.terminal import (
    OutputError,
    ReaderGoneError,
    discard_output,
    print_line,
    print_text,
    warn,
)

# The extra `worker` in pyproject.toml.
WORKER_PACKAGES = {
    *("av", "decord", "nvidia-ml-py", "safetensors", "torch", "torchvision", "webdataset")
}
# How the commands name the folders that they write to.
HAVE_TO_FLAG, USE_PATHS = ("report", "export"), ("shard", "submit", "resume", "cancel", "run")
HELP_WIDTH = 80  # columns, those of a new terminal
HELP_WORDS = {"-h", "--help", "-help", "help"}


class Deferred:
    """A call that runs later. It has no members that fire could find, so unused arguments are an
    error before anything has run.
    """

    __slots__ = ("call",)

    def __init__(self, call: Callable[[], int | None]) -> None:
        self.call = call

    def __dir__(self) -> list[str]:
        return []


def command(function: Callable[..., int | None]) -> Callable[..., Deferred]:
    """Mark a method as a command: its arguments are strings, are converted by annotation, and it
    runs after fire has returned.
    """

    @wraps(function)
    def deferred(*args: Any, **kwargs: Any) -> Deferred:
        hints = get_type_hints(function, include_extras=True)
        bound = inspect.signature(function).bind(*args, **kwargs)
        converted = {
            name: convert(hints.get(name, str), value, name)
            for name, value in bound.arguments.items()
            if name != "self"
        }
        positional = converted.pop(variadic_name(function), ())
        return Deferred(lambda: function(args[0], *positional, **converted))

    return SetParseFn(str)(deferred)


def dispatch(commands: object, argv: Sequence[str]) -> int:
    """Run one command line and return the exit code: 0; 2 after a UserError, an OSError or without
    the worker's packages; 130 after Ctrl-C.
    """
    try:
        return _dispatch(commands, list(argv))
    except UserError as error:
        warn(*error.lines)
    except ModuleNotFoundError as error:
        if error.name not in WORKER_PACKAGES:
            raise
        warn(_missing_package(error.name, argv))
    except KeyboardInterrupt:
        return 130
    except ReaderGoneError:
        return 0
    except OutputError as error:
        cause = OSError(error.error.errno, error.error.strerror, STANDARD_OUTPUT)
        warn(os_error_line(cause, command=command_line(*argv), other_folder=""))
        discard_output()
    except OSError as error:  # a full disk, a folder of another user
        other = "Name another folder"
        if argv[0] in HAVE_TO_FLAG:
            other = "Name another: --to FOLDER"
        elif argv[0] in USE_PATHS:
            other = "Name another in kdbatch.toml: [paths]"
        warn(os_error_line(error, command=command_line(*argv), other_folder=other))
    return 2


def _missing_package(package: str, argv: Sequence[str]) -> str:
    """The error where only the host part is installed, as on a login node, and its remedies."""
    elsewhere = f"in the image, which has it: apptainer exec IMAGE {command_line(*argv)}"
    if argv[0] == "shard" and argv[1] not in ("verify", "overlap"):
        elsewhere = f"let a node of SLURM do it: {command_line(*argv, '--slurm')}"
    return (
        f"this needs {package}, which is not installed here. Install it with the worker part: "
        f"pip install 'kdbatch[worker]'; or {elsewhere}"
    )


def _dispatch(commands: object, argv: list[str]) -> int:
    known = {name.replace("_", " "): getattr(commands, name) for name in commands.__dir__()}
    argv = _join_name(argv, known)
    if "--version" in argv[:1]:
        print_line(f"kdbatch {__version__}")
        return 0
    wants_help = not argv or any(word in HELP_WORDS for word in argv)
    name = next((word for word in argv if word not in HELP_WORDS), "")
    if wants_help and name not in known:
        group = {each: known[each] for each in known if each.startswith(f"{name} ")}
        about = [] if group else [inspect.getdoc(commands) or "", ""]
        print_text("\n".join([*about, *_overview(group or known)]))
        return 0
    if name not in known or (argv[0] != name and not wants_help):
        raise _unknown_command(argv, known)
    if wants_help:
        print_text(_usage(name, known[name]))
        return 0
    deferred = fire.Fire(
        commands,
        command=[name.replace(" ", "_"), *check_arguments(name, known[name], argv[1:])],
        name="kdbatch",
        serialize=lambda _: None,
    )
    assert isinstance(deferred, Deferred)
    return deferred.call() or 0


def _unknown_command(argv: Sequence[str], known: Collection[str]) -> UserError:
    """The error with the nearest command; of a command of two words, with all second words."""
    first = argv[0]
    if first.endswith((".yaml", ".yml")):
        commands = (plan_command([first], profile=""), command_line("submit", *argv))
        return UserError(f"{first}: name a command first: {' or '.join(commands)}")
    seconds = [name.partition(" ")[2] for name in known if name.startswith(f"{first} ")]
    typed = " ".join(argv[:2]) if seconds else first
    if seconds and len(argv) == 1:
        return UserError(f"{first} needs a second word: {', '.join(seconds)}.")
    names = ", ".join(known)
    return UserError(f"no command {typed!r}.{did_you_mean(typed, known)} Commands: {names}.")


def _join_name(argv: list[str], known: Collection[str]) -> list[str]:
    """Join the two words of a command such as `shard verify`, the method shard_verify, into one
    argument.
    """
    first = next((i for i, word in enumerate(argv) if word not in HELP_WORDS), 0)
    name = " ".join(argv[first : first + 2])
    return [*argv[:first], name, *argv[first + 2 :]] if name in known else argv


def _overview(known: dict[str, Any]) -> list[str]:
    """The lines that say what each command does."""
    lines = ["Commands:"]
    width = max(map(len, known))
    for name, function in known.items():
        first_line = (inspect.getdoc(function) or "").partition("\n")[0]
        lines.append(f"  {name:{width}} {first_line}")
    hint = f"The flags of one: {help_command()}. The version: {command_line('--version')}"
    return [*lines, "", hint]


def _usage(name: str, function: Callable[..., Any]) -> str:
    parameters = inspect.signature(function).parameters.values()
    flags = [p for p in parameters if p.kind is p.KEYWORD_ONLY]
    words = ["usage: kdbatch", name]
    for parameter in parameters:
        if parameter.kind is parameter.POSITIONAL_OR_KEYWORD:
            words.append(parameter.name.upper())
        elif parameter.kind is parameter.VAR_POSITIONAL:
            words.append(f"[{parameter.name.upper()}...]")
    if flags:
        words.append("[--flags]")
    paragraphs = (inspect.getdoc(function) or "").split("\n\n")
    about = (textwrap.fill(p, HELP_WIDTH, break_on_hyphens=False) for p in paragraphs)
    lines = [" ".join(words), "", "\n\n".join(about)]
    if flags:
        lines += ["", "Flags:"]
    hints = get_type_hints(inspect.unwrap(function))
    short = {long: f"{letter}, " for letter, long in SHORT_FLAGS.items()}
    for flag in flags:
        long = f"--{flag.name.replace('_', '-')}"
        line = f"  {short.get(long, '')}{long}"
        if hints[flag.name] is not bool:
            line += f"={_kind(hints[flag.name])}"
            line += f"  (default {flag.default})" if flag.default not in ("", 0) else ""
        lines.append(line)
    return "\n".join(lines)


def _kind(hint: Any) -> str:
    return {int: "N", float: "X", Path: "PATH"}.get(hint, "WORD")
