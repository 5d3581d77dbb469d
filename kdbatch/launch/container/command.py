"""The command that starts Python with a run's packages: bare, or in the image of `[container]`.

No shell stands between the scheduler and the container, and none inside it: a signal goes to the
container's own process, which forwards it to Python once, and Python's exit code comes back
unchanged.
"""

import re
import shlex
import shutil
import sys
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path

from kdbatch.base.errors import UserError
from kdbatch.launch.machine import expand_variables
from kdbatch.vocab.config import Config
from kdbatch.vocab.retry_policy import START_VARIABLES

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
BIND_OF_VARIABLE = re.compile(r"--bind=\$\{?(\w+)")
ALWAYS_BOUND = ("/tmp", "/var/tmp", "/dev")  # by the runtime itself


def python_command(config: Config, *, folders: Iterable[Path]) -> tuple[str, ...]:
    """The words of the command that starts Python; `$NAME` in a word is a variable of the node.

    `folders` are bound under their own, resolved names, so that a path means the same inside and
    outside.
    """
    container = config.container
    if not container.image:
        return (sys.executable,)
    command = ["env"]
    for name in HOST_VARIABLES:
        command += ["-u", name]
    command += [container.runtime, "--quiet", "exec", *GPU_FLAGS[container.gpu]]
    own_binds = [str(folder.resolve()) for folder in folders] + _cache_bind(config.cache.path)
    for bind in dict.fromkeys((*own_binds, *container.binds)):
        command.append(f"--bind={_absolute(bind)}")
    for name, value in {"PYTHONNOUSERSITE": "1", **container.env}.items():
        command.append(f"--env={name}={value}")
    return (*command, *container.args, str(Path(container.image).resolve()), "python3")


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
        expanded = expand_variables(word)
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
    if not Path(container.image).exists():
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


def _absolute(bind: str) -> str:
    source, colon, rest = bind.partition(":")
    return bind if source.startswith(("/", "$")) else f"{Path(source).resolve()}{colon}{rest}"


def _cache_bind(path: str) -> list[str]:
    """The bind of the folder that contains the cache: the cache itself need not exist yet, and a
    bind with a missing source ends a job.
    """
    parent = path if re.fullmatch(r"\$\w+|\$\{\w+\}", path) else path.rpartition("/")[0]
    is_bound = any(f"{parent}/".startswith(f"{folder}/") for folder in ALWAYS_BOUND)
    return [] if not parent or is_bound else [parent]


def _quote(word: str) -> str:
    if "$" not in word:
        return shlex.quote(word)
    quoted = '"' + re.sub(r'[\\`"]|\$(?!\w|\{\w+\})', r"\\\g<0>", word) + '"'
    bind = BIND_OF_VARIABLE.match(word)
    return f"${{{bind[1]}:+{quoted}}}" if bind else quoted
