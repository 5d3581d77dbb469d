"""The words that start Python where a run's packages are: bare, or inside the image of
`[container]`.

No shell stands between the scheduler and the container, and none inside it: a signal goes to the
container's own process, which hands it on to Python once, and Python's exit code comes back
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

# These belong to the host's Python: inside the image they would bring in the host's packages, or
# none at all. The last one names a process that is not the parent of a Python inside the image.
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
ALWAYS_BOUND = ("/tmp", "/var/tmp", "/dev")  # the runtime does that by itself


def python_command(config: Config, *, folders: Iterable[Path]) -> tuple[str, ...]:
    """The command that starts Python: each item is one word, in which `$NAME` may stand for a
    variable of the node.

    `folders` are bound under their own, resolved names, so that a path means the same inside and
    outside.
    """
    container = config.container
    if not container.image:
        return (sys.executable,)
    words = [
        "env",
        *(word for name in HOST_VARIABLES for word in ("-u", name)),
        container.runtime,
        "--quiet",
        "exec",
    ]
    words += GPU_FLAGS[container.gpu]
    own = (*(str(folder.resolve()) for folder in folders), *_cache_bind(config.cache.path))
    words += [f"--bind={_absolute(bind)}" for bind in dict.fromkeys((*own, *container.binds))]
    words += [
        f"--env={name}={value}"
        for name, value in {"PYTHONNOUSERSITE": "1", **container.env}.items()
    ]
    return (*words, *container.args, str(Path(container.image).resolve()), "python3")


def as_shell_line(words: Iterable[str]) -> str:
    """The words as a line of a batch script: quoted, but for `$NAME`, which the node's shell
    replaces; see `Container` for binds.
    """
    return " ".join(_quote(word) for word in words)


def as_argv(words: Iterable[str]) -> tuple[str, ...]:
    """The words for a process of this machine, with the variables replaced by their values here."""
    here = ((word, expand_variables(word)) for word in words)
    return tuple(
        now
        for word, now in here
        if not (BIND_OF_VARIABLE.match(word) and BIND_OF_VARIABLE.match(now))
    )


def check_container(config: Config, *, on_this_machine: bool) -> None:
    """What would make every job fail is told before one is submitted. `here`: the runs start on
    this machine.

    Raises:
        UserError: the image, a bind's source or, on this machine, the runtime is missing; or there
        is no image, nor a torch without one.
    """
    container = config.container
    if not container.image:
        if (
            not find_spec("torch") and not config.site.setup
        ):  # the site's lines may bring packages that only nodes have
            raise UserError(
                f"kdbatch.toml: container.image: there is none, and {sys.executable}, which the runs would use, has no torch. "
                "Name an image (make image), or: pip install 'kdbatch[worker]'"
            )
        return
    if not Path(container.image).exists():
        raise UserError(
            f"kdbatch.toml: container.image: there is no {container.image}. Make one: make image (or see container/README.md)"
        )
    for i, bind in enumerate(container.binds):
        source = bind.partition(":")[0]
        if "$" not in source and not Path(source).exists():
            raise UserError(
                f"kdbatch.toml: container.binds[{i}]: there is no {source} here. If only the nodes have it, write: "
                f'args = ["--bind", "{bind}"]'
            )
    if on_this_machine and not shutil.which(container.runtime):
        raise UserError(
            f"kdbatch.toml: container.runtime: no command {container.runtime!r} here. Load its module, or install Apptainer."
        )


def _absolute(bind: str) -> str:
    source, colon, rest = bind.partition(":")
    return bind if source.startswith(("/", "$")) else f"{Path(source).resolve()}{colon}{rest}"


def _cache_bind(path: str) -> tuple[str, ...]:
    """The folder that the cache's own folder is made in: the cache itself need not be there yet,
    and a missing source ends a job.
    """
    parent = path if re.fullmatch(r"\$\w+|\$\{\w+\}", path) else path.rpartition("/")[0]
    bound = any(f"{parent}/".startswith(f"{folder}/") for folder in ALWAYS_BOUND)
    return () if not parent or bound else (parent,)


def _quote(word: str) -> str:
    if "$" not in word:
        return shlex.quote(word)
    quoted = '"' + re.sub(r'[\\`"]|\$(?!\w|\{\w+\})', r"\\\g<0>", word) + '"'
    bind = BIND_OF_VARIABLE.match(word)
    return f"${{{bind[1]}:+{quoted}}}" if bind else quoted
