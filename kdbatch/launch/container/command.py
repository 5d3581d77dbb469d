"""The command that starts Python with a run's packages: bare, or in the image of `[container]`.

No shell stands between the scheduler and the container, and none inside it: a signal goes to the
container's own process, which forwards it to Python once, and Python's exit code comes back
unchanged.
"""

import re
import shutil
import sys
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path

from kdbatch.base.command_lines import shell_word
from kdbatch.base.errors import UserError
from kdbatch.launch.container.image import image_path
from kdbatch.launch.container.registry import digest_of
from kdbatch.launch.machine import expand_variables
from kdbatch.vocab.attempts.start import START_VARIABLES
from kdbatch.vocab.config import Config
from kdbatch.vocab.jobs.images import image_reference

# Variables of the host's Python, which would bring the host's packages into the image, or none at
# all. The last one names a process that is not the parent of a Python inside the image.
HOST_VARIABLES = (
    "PYTHONPATH",
    "PYTHONHOME",
    "PYTHONSTARTUP",
    "VIRTUAL_ENV",
    "LD_PRELOAD",
    START_VARIABLES["parent_pid"],
)
GPU_FLAGS = {"nv": ("--nv",), "rocm": ("--rocm",), "none": ()}
BIND_SYNTAX = re.compile(r"[:,^\\\n]|^ | $")
BIND_OF_VARIABLE = re.compile(r"--bind=\$\{?(\w+)")
ALWAYS_BOUND = ("/tmp", "/var/tmp", "/dev")  # by the runtime itself


def python_command(config: Config, *, folders: Iterable[Path]) -> tuple[str, ...]:
    """The words of the command that starts Python; `$NAME` in a word is a variable of the node, and
    `$$` is a dollar sign.

    `folders` are bound under their own, resolved names, so that a path means the same inside and
    outside.
    """
    container = config.container
    if not container.image:
        return (_literal(sys.executable),)
    command = ["env"]
    for name in HOST_VARIABLES:
        command += ["-u", name]
    command += [_literal(container.runtime), "--quiet", "exec", *GPU_FLAGS[container.gpu]]
    own = [bind_option(_literal(folder.resolve())) for folder in folders]
    own += [bind_option(folder) for folder in _cache_bind(config.cache.path)]
    command += dict.fromkeys((*own, *map(_configured_bind, container.binds)))
    for name, value in {"PYTHONNOUSERSITE": "1", **container.env}.items():
        command.append(env_option(name, value))
    image = _literal(image_path(config))
    return (*command, *container.args, image, "python3")


def bind_option(source: str, destination: str = "", mode: str = "") -> str:
    """The option of Apptainer that binds a folder, under its own name unless another is given.

    `--bind` splits its value at each of `:,^`, and reads only the first escape before one of them;
    `--mount`, of Apptainer 1.0 and SingularityCE 3.9 or newer, takes any name as a field of CSV.
    """
    if not BIND_SYNTAX.search(source + destination) or source.startswith("$"):
        return (
            f"--bind={source}"
            + f":{destination}" * bool(destination + mode)
            + f":{mode}" * bool(mode)
        )
    fields = ["type=bind", f"source={source}", f"destination={destination or source}"]
    quoted = ['"' + field.replace('"', '""') + '"' for field in fields[1:]]
    return "--mount=" + ",".join((fields[0], *quoted, *(("ro",) if mode == "ro" else ())))


def env_option(name: str, value: str) -> str:
    """The option of Apptainer that sets a variable.

    The image's shell reads the value as if it stood in double quotes; and where it has a second `=`
    it is a field of CSV.
    """
    parts = [re.sub(r"[\\`]|\$(?!\w|\{\w+\})", r"\\\g<0>", part) for part in value.split("$$")]
    escaped = r"\$$".join(parts)
    text = f"{name}={escaped}"
    if "=" in escaped and set(escaped) & set(',"'):
        text = '"' + text.replace('"', '""') + '"'
    return f"--env={text}"


def as_shell_line(words: Iterable[str]) -> str:
    """The words as a line of a batch script: quoted, except `$NAME`, which the node's shell
    replaces. A bind of a variable that the node has not set is left out.
    """
    return " ".join(_quote(word) for word in words)


def as_argv(words: Iterable[str]) -> tuple[str, ...]:
    """The words for a process of this machine, with the variables replaced by their values here. A
    bind of a variable that is not set is left out.
    """
    argv = []
    for word in words:
        expanded = "$".join(map(expand_variables, word.split("$$")))
        is_unset_bind = BIND_OF_VARIABLE.match(word) and BIND_OF_VARIABLE.match(expanded)
        if not is_unset_bind:
            argv.append(expanded)
    return tuple(argv)


def check_container(config: Config, *, on_this_machine: bool) -> None:
    """Check, before anything is submitted, what would make every job fail. `on_this_machine`: the
    runs start here, and not on nodes.

    Raises:
        UserError: the image, a bind's source or, on this machine, the runtime is missing; or there
        is no image, nor a torch without one.
    """
    container = config.container
    if not container.image:
        # The site's lines may bring packages that only nodes have.
        if not find_spec("torch") and not config.site.setup:
            raise UserError(
                f"kdbatch.toml: container.image: there is none, and {sys.executable}, which the "
                "runs would use, has no torch. Name an image (make image), "
                "or: pip install 'kdbatch[worker]'"
            )
        return
    reference = image_reference(container.image)
    if reference and not reference.digest:
        digest = digest_of(reference.name, reference.tag or "latest")
        hint = "" if digest else "; its registry does not tell which"
        raise UserError(
            f"kdbatch.toml: container.image: {container.image} may be another image tomorrow. "
            f'Write: image = "{reference.with_digest(digest or "DIGEST")}"{hint}'
        )
    if not reference and not Path(container.image).exists():
        raise UserError(
            f"kdbatch.toml: container.image: there is no {container.image}. "
            "Make one: make image (or see container/README.md)"
        )
    for i, bind in enumerate(container.binds):
        source = bind.partition(":")[0]
        if "$" not in source and not Path(source).exists():
            raise UserError(
                f"kdbatch.toml: container.binds[{i}]: there is no {source} here. "
                f'If only the nodes have it, write: args = ["--bind", "{bind}"]'
            )
    if on_this_machine and not shutil.which(container.runtime):
        raise UserError(
            f"kdbatch.toml: container.runtime: no command {container.runtime!r} here. "
            "Load its module, or install Apptainer."
        )


def _literal(path: str | Path) -> str:
    """A path as a word in which nothing is a variable."""
    return str(path).replace("$", "$$")


def _configured_bind(bind: str) -> str:
    source, destination, mode, *_ = (*bind.split(":"), "", "")
    if not source.startswith(("/", "$")):
        source = _literal(Path(source).resolve())
    return bind_option(source, destination, mode)


def _cache_bind(path: str) -> list[str]:
    """The bind of the folder that contains the cache: the cache itself need not exist yet, and a
    bind with a missing source ends a job.
    """
    parent = path if re.fullmatch(r"\$\w+|\$\{\w+\}", path) else path.rpartition("/")[0]
    is_bound = any(f"{parent}/".startswith(f"{folder}/") for folder in ALWAYS_BOUND)
    return [] if not parent or is_bound else [parent]


def _quote(word: str) -> str:
    if "$" not in word:
        return shell_word(word)
    literal = [re.sub(r'[\\`"]|\$(?!\w|\{\w+\})', r"\\\g<0>", part) for part in word.split("$$")]
    quoted = '"' + r"\$".join(literal) + '"'
    bind = BIND_OF_VARIABLE.match(word)
    return f"${{{bind[1]}:+{quoted}}}" if bind else quoted
