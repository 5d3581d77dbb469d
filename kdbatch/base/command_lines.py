"""Command lines that messages print: whole, and quoted for a shell, so that they can be pasted.

Every command that a message names comes from here; a test types each of them.
"""

import shlex
from collections.abc import Iterable
from pathlib import Path

from kdbatch.base.output.visible_text import visible


def shell_word(word: str | Path) -> str:
    """A word quoted for a shell. A path is never taken for an option; control characters are
    written out, as bash and zsh read them.
    """
    text = f"./{word}" if isinstance(word, Path) and str(word).startswith("-") else str(word)
    if visible(text) == text:
        return shlex.quote(text)
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"$'{visible(escaped)}'"


def shell_line(*words: str | Path) -> str:
    """The words of a command, each quoted for a shell."""
    return " ".join(map(shell_word, words))


def command_line(*words: str | Path | None) -> str:
    """`kdbatch` and these words, quoted for a shell; None is left out."""
    return shell_line("kdbatch", *(word for word in words if word is not None))


def flag_words(flag: str, value: str | int | Path) -> tuple[str, ...]:
    """A flag and its value: one word where the value would be taken for a flag."""
    text = str(value)
    return (f"{flag}={text}",) if text.startswith("-") else (flag, text)


def submit_command(
    files: Iterable[str | Path],
    *,
    profile: str,
    local: bool = False,
    jobs: int = 0,
    retry_failed: bool = False,
    wait: bool = False,
) -> str:
    """Submit these experiments. The profile is always written: with another one these would be
    other runs.
    """
    return command_line(
        "submit",
        *files,
        *_value("--profile", profile),
        _switch("--local", local),
        *_value("--jobs", jobs),
        _switch("--retry-failed", retry_failed),
        _switch("--wait", wait),
    )


def resume_command(
    files: Iterable[str | Path] = (), *, profile: str = "", retry_failed: bool = False
) -> str:
    """Go on with what was submitted, as it was submitted: with these files, or with all."""
    return command_line(
        "resume",
        *files,
        *_value("--profile", profile),
        _switch("--retry-failed", retry_failed),
    )


def remove_and_resume(path: str | Path) -> str:
    """Remove a file or a folder of a run, and start again what it belonged to."""
    return f"{shell_line('rm', '-r', path)} && {resume_command(retry_failed=True)}"


def plan_command(files: Iterable[str | Path], *, profile: str) -> str:
    """Show the runs of these experiments."""
    return command_line("plan", *files, *_value("--profile", profile))


def status_command(*what: str, watch: bool = False) -> str:
    """Show all runs, or these."""
    return command_line("status", *what, _switch("--watch", watch))


def logs_command(run_id: str) -> str:
    """Show the end of a run's log."""
    return command_line("logs", run_id)


def cancel_command(*what: str | Path, everything: bool = False) -> str:
    """Take runs out of SLURM's queue."""
    return command_line("cancel", *what, _switch("--all", everything))


def report_command(*, to: str | Path = "", against: str | Path = "") -> str:
    """Make the report, in the folder `to` if it is given, and compare it with that `against`."""
    return command_line("report", *_value("--to", to), *_value("--against", against))


def export_command(run_id: str, *, to: str | Path) -> str:
    """Export a run's network into the folder `to`."""
    return command_line("export", run_id, *_value("--to", to))


def init_command() -> str:
    """Write kdbatch.toml."""
    return command_line("init")


def doctor_command(*, submit: bool = False) -> str:
    """Look for what would make runs fail, also on a node of SLURM."""
    return command_line("doctor", _switch("--submit", submit))


def toy_command(
    folder: str | Path, *, size: str, datasets: str = "", seed: int = 0, processes: int = 0
) -> str:
    """Write the toy data sets, or the rest of them."""
    return command_line(
        "toy",
        folder,
        *_value("--size", size),
        *_value("--datasets", datasets),
        *_value("--seed", seed),
        *_value("--processes", processes),
    )


def shard_command(dataset: str, *, split: str = "") -> str:
    """Store a data set, whole. ShardRequest.command repeats what somebody has typed."""
    return command_line("shard", dataset, *_value("--split", split))


def verify_command(dataset: str) -> str:
    """Look for damage in the shards of a data set; it prints how to repair them."""
    return command_line("shard", "verify", dataset)


def overlap_command(first: str, second: str, *, to: str | Path = "") -> str:
    """List the videos of the first data set that show what videos of the second show."""
    return command_line("shard", "overlap", first, second, *_value("--to", to))


def sync_command(tracker: str, target: str) -> str:
    """Bring a tracker's project or folder up to date."""
    return command_line("sync", tracker, target)


def bench_step_command(*, backbone: str, stage: str, limit: int = 0) -> str:
    """Measure the training steps of one stage of one network, for up to `limit` seconds."""
    options = {"--backbone": backbone, "--stage": stage, "--limit": limit}
    words = (word for flag, value in options.items() for word in _value(flag, value))
    return command_line("bench", "step", *words)


def bench_data_command(*, videos: str | Path) -> str:
    """Measure reading of these videos."""
    return command_line("bench", "data", *_value("--videos", videos))


def help_command(command: str = "COMMAND") -> str:
    """Show the help text of a command, such as `shard verify`."""
    return command_line(*command.split(), "--help")


def _switch(flag: str, is_set: bool) -> str | None:
    return flag if is_set else None


def _value(flag: str, value: str | int | Path) -> tuple[str, ...]:
    return flag_words(flag, value) if value else ()
