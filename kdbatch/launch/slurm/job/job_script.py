"""The batch script's own lines: job.sh, filled in for one array.

The worker saves its progress and exits with 85; the script on the host then puts the job back into
the queue. It cannot be done from inside: an image has no scontrol, nor SLURM's configuration and
keys. A helper script in every image could ask the host; the exit code needs none. The script
goes on only when the last process of the step has ended, which srun's --kill-on-bad-exit ensures.
"""

import re
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

from kdbatch.base.command_lines import shell_word
from kdbatch.base.errors import UserError
from kdbatch.base.output.visible_text import visible
from kdbatch.launch.container.image import ImageFile
from kdbatch.launch.slurm.job.job_options import gpu_flag
from kdbatch.vocab.attempts.exit_rules import EXIT_RULES, OUT_OF_MEMORY, ExitRule
from kdbatch.vocab.attempts.retries import Retries
from kdbatch.vocab.config import Site
from kdbatch.vocab.jobs.resources import Resources

TEMPLATE = Path(__file__).with_name("job.sh")
START_RUNS = "start_runs"  # the script's function that starts the runs that share a job
STEP_NAME = "kdbatch-run"  # of srun's steps, before the place of the run
# Words that the script adds to an exit code, next to OUT_OF_MEMORY.
SETUP_FAILED = "setup"  # it ended before its worker
OTHER_CODES = EXIT_RULES[-1]
# sbatch(1), "filename pattern": % and a letter, with the width of the number between them, or %%; a
# backslash switches all patterns off. submitit replaces %j, %t, %A and %a itself, also on the node,
# and knows no way to write a % that stays.
_PATTERN = re.compile(r"%(?:%|\d*[A-Za-z])|\\")
# A line feed ends the line of the script, which is UTF-8 and cannot have other bytes.
_UNWRITABLE = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")


def check_submit_folder(folder: Path) -> None:
    """Check the name of a folder that takes the logs and files of an array, before it is made.

    Raises:
        UserError: SLURM or submitit would read a part of the name as something else.
    """
    name = str(folder.resolve())
    found = _PATTERN.search(name) or _UNWRITABLE.search(name)
    if found:
        raise UserError(
            f"{visible(name)}: SLURM's file names cannot have {visible(found[0])!r}, which it "
            "replaces, reads as the end of a line, or cannot read as UTF-8. Rename that folder, or "
            "name another in kdbatch.toml: [paths]"
        )


def setup_lines(
    resources: Resources,
    *,
    site: Site,
    folder: Path,
    image: ImageFile | None,
    retries: Retries,
) -> list[str]:
    """The lines before the worker: the site's own, the address of the process group where there are
    several processes, the variables of the worker's Start, and START_RUNS where it is needed.
    """
    return [
        *_section("setup", folder=shell_word(folder.resolve()), setup_failed=SETUP_FAILED),
        *site.setup,
        *(_section("rendezvous") if resources.num_tasks > 1 else ()),
        *_section(
            "start",
            limit_seconds=str(60 * resources.minutes),
            signal_seconds=str(signal_delay_seconds(resources)),
            export_image_hash=image.export_line if image else "",
        ),
        *(_steps(resources, site, folder, retries) if has_steps(resources, site) else ()),
    ]


def has_steps(resources: Resources, site: Site) -> bool:
    """Whether several runs share the job, each as a step of srun."""
    return resources.runs_per_job > 1 and site.packing == "srun"


def _steps(resources: Resources, site: Site, folder: Path, retries: Retries) -> Iterator[str]:
    """The function START_RUNS, which is called with the command of one run."""
    tasks = resources.tasks_per_node
    options = {
        "ntasks": tasks,
        "ntasks-per-node": tasks,
        "cpus-per-task": resources.cpus_per_task,
        # 0: none of its own, as otherwise each step would want the memory of the job
        "mem": f"{resources.memory_gb}GB" if resources.memory_gb else 0,
        **gpu_flag(resources, site=site),
    }
    words = (f"--{name}={shell_word(str(value))}" for name, value in options.items())
    return _section(
        "steps",
        folder=shell_word(folder.resolve()),
        places=" ".join(map(str, range(resources.runs_per_job))),
        step_options=" ".join(("--unbuffered --exact --kill-on-bad-exit=1 --nodes=1", *words)),
        step_name=STEP_NAME,
        teardown="\n  ".join(_judgement(retries)),
    )


def teardown_lines(retries: Retries, *, steps: bool = False) -> list[str]:
    """The lines after the worker, or after the `steps` of several runs: put the job back into the
    queue where another start may help.
    """
    first = _section("steps_teardown") if steps else _judgement(retries)
    return [*first, *_section("requeue")]


def _judgement(retries: Retries) -> list[str]:
    """The lines after a worker: note how it ended, and whether another start may help.

    The limits here are for what ends before the worker can count; the worker has the limits by
    cause.
    """
    lines: list[str] = []
    for line in _section("teardown", out_of_memory=OUT_OF_MEMORY, exit_codes="*"):
        if line.strip().startswith("*)"):
            indent = line[: line.index("*")]
            lines += [f"{indent}{case}" for case in _limit_cases(retries)]
        lines.append(line)
    return lines


def signal_delay_seconds(resources: Resources) -> int:
    """How many seconds before its time limit a worker is asked to save: 300, or a quarter of a
    short job. SLURM may send the signal up to a minute earlier.
    """
    return min(300, resources.minutes * 15)


def _limit_cases(retries: Retries) -> Iterator[str]:
    """A line of the shell's `case` for each group of exit codes that are not treated as all other
    codes are: never started again, and final.
    """
    rules = [rule for rule in EXIT_RULES if _treatment(rule) != _treatment(OTHER_CODES)]
    for _, group in groupby(rules, key=_treatment):
        alike = list(group)
        patterns = " | ".join(rule.pattern for rule in alike)
        yield f"{patterns}) limit={alike[0].max_retries(retries)} ;;"


def _treatment(rule: ExitRule) -> tuple[str, bool]:
    return rule.limit, rule.is_final


def _section(name: str, **values: str) -> Iterator[str]:
    """The lines of a section of job.sh, with `values` for its words in __...__; without comments
    and without lines that are then empty.
    """
    template = TEMPLATE.read_text(encoding="utf-8")
    sections = re.split(r"^#: section (\w+).*\n", template, flags=re.MULTILINE)
    text = dict(zip(sections[1::2], sections[2::2]))[name]
    for line in text.splitlines():
        if not line.lstrip().startswith("#"):
            filled = re.sub(r"__([A-Z_]+)__", lambda word: values[word[1].lower()], line)
            if filled.strip():
                yield filled
