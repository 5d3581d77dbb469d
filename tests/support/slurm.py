"""A fake cluster on PATH: sbatch keeps its script and queues its elements; squeue lists them."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import kdbatch
from kdbatch.launch.slurm import commands

SBATCH = """#!/bin/bash
cd "{folder}"
[ "$1" = --help ] && {{ cat help 2>/dev/null; exit 0; }}
if [ "$1" = --test-only ]; then
  cp "$2" "test-only-$(sed -n 's/^#SBATCH --job-name=//p' "$2").sbatch"
  if grep -q -- "--partition=closed" "$2"; then
    echo "allocation failure: Invalid partition name specified" >&2; exit 1
  fi
  start="2026-01-02T03:04:05 using 8 processors on nodes n1 in partition gpu"
  echo "sbatch: Job 7 to start at $start" >&2
  exit 0
fi
if [ -e refuse ]; then
  cat refuse >&2; [ -e refuse_once ] && rm refuse refuse_once; [ -e accept_anyway ] || exit 1
fi
last=$(sed -n 's/^#SBATCH --array=0-\\([0-9]*\\).*/\\1/p' "$1")
if [ -e max_array_size ] && [ "${{last:-0}}" -ge "$(cat max_array_size)" ]; then
  echo "sbatch: error: Batch job submission failed: Invalid job array specification" >&2; exit 1
fi
touch queue
if [ -e max_submit ] && [ $(($(wc -l <queue) + ${{last:-0}} + 1)) -gt "$(cat max_submit)" ]; then
  printf 'sbatch: error: %s\\n' AssocMaxSubmitJobLimit "Batch job submission failed: Job violates \
accounting/QOS policy (job submit limit, user's size and/or time limits)" >&2; exit 1
fi
env >"env.txt"
id=$(( $(cat last 2>/dev/null || echo 40) + 1 )); echo $id >last
cp "$1" $id.sbatch
name=$(sed -n 's/^#SBATCH --job-name=//p' "$1")
held=$(grep -q '^#SBATCH --hold' "$1" && echo JobHeldUser || echo None)
if [ -n "$last" ]; then elements=$(seq -f "${{id}}_%g" 0 $last); else elements=$id; fi
for element in $elements; do echo "$element|$name|PENDING|$held"; done >>queue
[ -e accept_anyway ] && {{ rm accept_anyway; exit 1; }}
[ -e kill_submit ] && kill -9 $PPID
[ -e warns ] && cat warns >&2
if [ -e says ]; then sed "s/ID/$id/g" says; else echo "Submitted batch job $id"; fi
"""
SQUEUE = """#!/bin/bash
cd "{folder}"
echo "$@" >>squeue.txt
[ -e squeue_fails ] && {{ cat squeue_fails >&2; exit 1; }}
[ -e squeue_warns ] && cat squeue_warns >&2
touch queue; if [ -e squeue_says ]; then cat squeue_says; exit; fi
if [ "$1" = --me ]; then grep -v "|uid=" queue; exit 0; else cat queue; fi
"""
SCONTROL = """#!/bin/bash
[ $# = 0 ] && [ -e "{folder}/kill_update" ] && kill -9 $PPID
if [ "$2 $3" = "show job" ]; then
  while IFS='|' read -r id name state reason; do
    [ "${{id%_*}}" = "$4" ] && echo "JobId=7 ArrayJobId=$4 ${{id/#$4_/ArrayTaskId=}} JobName=$name \
JobState=$state Reason=$reason"
  done <"{folder}/queue" | grep . && exit 0
  echo "slurm_load_jobs error: Invalid job id specified" >&2; exit 1
fi
[ "$*" = "show config" ] && {{ cat "{folder}/config" 2>/dev/null; exit 0; }}
if [ $# = 0 ]; then cat >>"{folder}/scontrol.txt"; else echo "$@" >>"{folder}/scontrol.txt"; fi
[ "$1" = release ] && sed -i "/^$2[_|]/s/JobHeldUser/None/" "{folder}/queue"
[ "$2 $3" = "hostnames node[1-2]" ] && printf 'node1\\nnode2\\n'
exit 0
"""
SCANCEL = """#!/bin/bash
cd "{folder}"
echo "$@" >>scancel.txt
for id in "$@"; do sed -i "/^$id[_|]/d; /|${{id#--name=}}|/d" queue; done
"""
# srun OPTIONS... COMMAND: one task, on this machine. The options end where Python, or the
# container's command, begins.
SRUN = """#!/bin/bash
while [ "$1" != "{python}" ] && [ "$1" != env ]; do shift; done
exec "$@"
"""
# apptainer --quiet exec --OPTION... IMAGE python3 ARGUMENTS...: writes its arguments to a file,
# sets
# the variables of --env, and replaces itself by this Python.
APPTAINER = """#!/bin/bash
printf '%s\\n' "$@" >>"{folder}/apptainer.txt"
env >"{folder}/apptainer_env.txt"
shift 2
while [[ "$1" == --* ]]; do [[ "$1" == --env=* ]] && export "${{1#--env=}}"; shift; done
[ "$2" = python3 ] && exec "{python}" "${{@:3}}"
"""


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the fake cluster: `41.sbatch`, ..., `queue` (id|name|state|reason, with
    |uid=... for a job of another user), and the arguments of `scontrol` and `scancel`.

    Files in it change what happens. `refuse`: sbatch fails with that text; only once with
    `refuse_once`, and the job is queued all the same with `accept_anyway`. `kill_submit`: the
    caller of sbatch is killed when the job is queued; `kill_update`: when the elements get their
    dependencies. `says`: sbatch prints that text, with the number for ID, and `warns` to its
    standard error. `sbatch --test-only` keeps its script as test-only-NAME.sbatch, and refuses
    those of the partition `closed`; `sbatch --help` prints `help`. `max_submit` is how many
    elements the queue takes, `max_array_size` how many an array may have. `squeue_fails`: squeue
    fails with that text; `squeue_says` and `squeue_warns` are printed with exit code 0. `config`
    is what `scontrol show config` prints.
    """
    monkeypatch.setattr(commands, "PAUSES", (0.0, 0.0))
    folder = tmp_path / "cluster"
    folder.mkdir()
    programs = {
        "sbatch": SBATCH,
        "squeue": SQUEUE,
        "srun": SRUN,
        "scontrol": SCONTROL,
        "scancel": SCANCEL,
        "apptainer": APPTAINER,
        "sleep": "#!/bin/bash\n",
    }
    for name, text in programs.items():
        (folder / name).write_text(text.format(folder=folder, python=sys.executable))
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=":")
    return folder


@pytest.fixture
def stand_in_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """On a node, `python -m kdbatch.run` is the stand-in worker: a copy of the package with another
    `run`, first on PYTHONPATH.
    """
    package, copy = Path(kdbatch.__path__[0]), tmp_path / "package" / "kdbatch"
    for room in ("base", "vocab", "launch"):
        shutil.copytree(package / room, copy / room, ignore=shutil.ignore_patterns("__pycache__"))
    (copy / "run").mkdir()
    shutil.copy(package / "run" / "heartbeat.py", copy / "run" / "heartbeat.py")
    shutil.copy(Path(__file__).with_name("stand_in_worker.py"), copy / "run" / "__main__.py")
    for folder in (copy, copy / "run"):
        (folder / "__init__.py").touch()
    monkeypatch.setenv("PYTHONPATH", str(copy.parent))
    monkeypatch.chdir(tmp_path)  # `python -m` looks in the current folder first
    return copy


@pytest.fixture
def real_slurm() -> None:
    """Skip the test unless a real SLURM answers."""
    if not shutil.which("sbatch"):
        pytest.skip("no SLURM here: sbatch is not on PATH")
    if subprocess.run(["sinfo"], capture_output=True, check=False).returncode:
        pytest.skip("no SLURM here: sinfo gets no answer")


def run_array_element(slurm: Path, job_id: str) -> subprocess.CompletedProcess[str]:
    """Run the script of a job, as SLURM would: `41_1` is the second element of the array 41."""
    array, _, index = job_id.partition("_")
    job = {"SLURM_JOB_ID": array, "SLURM_PROCID": "0", "SLURM_NTASKS": "1"}
    if index:
        job |= {"SLURM_ARRAY_JOB_ID": array, "SLURM_ARRAY_TASK_ID": index}
    return subprocess.run(
        ["bash", str(slurm / f"{array}.sbatch")],
        env={**os.environ, **job},
        capture_output=True,
        text=True,
        check=False,
    )


def run_queued_elements(slurm: Path) -> Iterator[subprocess.CompletedProcess[str]]:
    """Run what is in the queue of the fake cluster, in its order, until nothing is left that may
    start, and yield how each script ended.
    """
    queue = slurm / "queue"
    while queue.exists():
        waiting = [line.split("|") for line in queue.read_text().splitlines()]
        ready = [job_id for job_id, _, _, reason in waiting if reason != "JobHeldUser"]
        if not ready:
            return
        yield run_array_element(slurm, ready[0])
        kept = [line for line in queue.read_text().splitlines() if line.split("|")[0] != ready[0]]
        queue.write_text("".join(f"{line}\n" for line in kept))
