"""The batch script's own lines: what the host does on the node before the worker starts and after
it has ended.

The worker saves its progress and exits with 85; the host then puts the job back into the queue. It
cannot be done from inside: an image has no scontrol, nor SLURM's configuration and keys. A stand-in
scontrol inside that asks the host would also do, but needs a helper script beside every image; the
exit code needs nothing. Its one weakness, that the script goes on only when the last process of the
step has ended, is met by srun's --kill-on-bad-exit.
"""

import shlex
from pathlib import Path

from kdbatch.launch.container.image import ImageFile
from kdbatch.vocab.config import Site
from kdbatch.vocab.runs import Resources, Retries
from kdbatch.vocab.status import EXIT_BUSY, EXIT_STOPPED, EXIT_UNMET

EXIT_NO_CONTAINER = 255  # of apptainer, when it could not start one
SETUP, MEMORY = (
    "setup",
    "out of memory",
)  # what the script adds to an exit code: it ended before its worker; it had asked for too little

# Where the processes of one run meet. sed reads to the end, as head would break the pipe; the port
# is the job's own, below those that
# Linux hands out by itself, and another one at the next start, as this one may have been taken.
RENDEZVOUS_LINES = (
    # export would hide a failure from set -e
    'MASTER_ADDR="$(scontrol show hostnames "$SLURM_JOB_NODELIST" | sed -n 1p)"',
    "export MASTER_ADDR",
    'export MASTER_PORT="$((10000 + (SLURM_JOB_ID + 997 * ${SLURM_RESTART_COUNT:-0}) % 20000))"',
)
# An element is named ARRAY_INDEX: the raw id of one of them is that of the whole array, and a
# requeue of it would requeue all.
JOB_NAME_LINES = (
    "element=${SLURM_ARRAY_JOB_ID:+${SLURM_ARRAY_JOB_ID}_${SLURM_ARRAY_TASK_ID}}",
    'export KDBATCH_JOB="${element:-$SLURM_JOB_ID}"',
)
# The last state that the accounting has of an earlier start of this job, in one word.
LAST_STATE = (
    'timeout 30 sacct --duplicates --allocations --noheader --parsable2 --jobs="$KDBATCH_JOB" --format=State 2>/dev/null'
    " | sed -nE '/^(RUNNING|PENDING|COMPLETING|CONFIGURING)/!h; ${x; s/ .*//; p}'"
)


def setup_lines(
    asked: Resources, *, site: Site, folder: Path, image: ImageFile | None
) -> list[str]:
    """Before the worker: the site's lines, where several processes meet, and what the worker is
    told of its start (vocab/retry_policy.py).

    set -u is left out: the activation scripts of modules and conda read variables that nobody set.
    """
    return [
        *JOB_NAME_LINES,
        f'ended={shlex.quote(str(folder.resolve()))}/"$KDBATCH_JOB.ended"  # how each start of this job ended, a line each',
        f"""trap 'rc=$?; [ "$rc" -eq 0 ] || echo "${{SLURM_RESTART_COUNT:-0}} $rc {SETUP}" >>"$ended"' EXIT""",
        "set -eo pipefail",
        *site.setup,
        *(RENDEZVOUS_LINES if asked.num_tasks > 1 else ()),
        "set +e +o pipefail",
        "trap - EXIT",
        f'export KDBATCH_ENDS_AT="${{SLURM_JOB_END_TIME:-$(($(date +%s) + {60 * asked.minutes}))}}"',
        f"export KDBATCH_SIGNAL_SECONDS={signal_delay_seconds(asked)}",
        *([image.line] if image else ()),
        'export KDBATCH_RESTART="${SLURM_RESTART_COUNT:-0}"',
        'if [ "$KDBATCH_RESTART" -gt 0 ]; then',
        """  export KDBATCH_EXITS="$(tr '\\n' ';' 2>/dev/null <"$ended")\"""",
        f'  export KDBATCH_LAST_STATE="$({LAST_STATE})"',
        "fi",
    ]


def teardown_lines(retries: Retries) -> list[str]:
    """After the worker: note how it ended, and put the job back where another start may help.
    Limits by cause are the worker's.

    The limits here are for what ends before the worker can count. SIGTERM and SIGINT came from who
    decides what happens next. Running out of memory, after which srun ends with 1, would only
    happen again. The teardown is the script's last command, so it must hand on the exit code.
    """
    return [
        "rc=$?",
        'if [ "$rc" -ne 0 ]; then',
        f"""  oom=; [ "$rc" -eq 1 ] || [ "$rc" -gt 128 ] && grep -qsi "oom.\\?kill" "${{ended%.ended}}"_*_log.err && oom=" {MEMORY}\"""",
        '  echo "${SLURM_RESTART_COUNT:-0} $rc$oom" >>"$ended"',
        '  times=$(grep -c " $rc$oom\\$" "$ended")',
        '  case "$rc$oom" in',
        f"    {EXIT_STOPPED} | {EXIT_BUSY}) limit={retries.total} ;;",
        f"    {EXIT_NO_CONTAINER} | {EXIT_UNMET}) limit={retries.silent} ;;",
        "    130 | 143) limit=0 ;;",
        f"    129 | 1[3-5]?) limit={retries.silent} ;;",
        "    *) limit=0 ;;",
        "  esac",
        '  [ "$times" -le "$limit" ] && for pause in 0 5 20 60; do  # a controller that is busy or restarting may answer later',
        '    sleep "$pause"; scontrol requeue "$KDBATCH_JOB" && sleep 60 && break  # until the requeue ends this script',
        "  done",
        "fi",
        'exit "$rc"',
    ]


def signal_delay_seconds(asked: Resources) -> int:
    """How long before its time limit a worker is told to save; SLURM may send it up to a minute
    earlier. A quarter of short jobs.
    """
    return min(300, asked.minutes * 15)
