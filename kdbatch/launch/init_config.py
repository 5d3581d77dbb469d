"""`kdbatch init`: a commented kdbatch.toml, filled in with what is detected on this machine."""

import json
from dataclasses import dataclass
from pathlib import Path

from kdbatch.base.atomic_write import write_text
from kdbatch.base.output.visible_text import visible
from kdbatch.launch.machine import GpuMaker, gpu_maker, has_command, visible_gpus
from kdbatch.launch.slurm.cluster_info import (
    Partition,
    is_amd_type,
    largest_array,
    partitions,
    slurm_settings,
)

MAX_ARRAY_SIZE, MAX_MINUTES = 1000, 1440
CONFIG_TEMPLATE = """#:schema jobs/schema/kdbatch.json
# Folders, and settings of this site. Nothing in this file can change a result.
# Check it with: kdbatch doctor

[paths]                          # relative to this folder
shards = "shards"
runs = "runs"
report = "report"

# Folders of the videos, laid out as their owners publish them.
# [datasets.k400]
# root = "/data/kinetics400"     # train/<class>/<video>.mp4
# [datasets.ssv2]
# root = "/data/ssv2"            # 20bn-something-something-v2/*.webm and labels/
# [datasets.ucf101]
# root = "/data/ucf101"          # UCF-101/<class>/*.avi and ucfTrainTestlist/
# [datasets.hmdb51]
# root = "/data/hmdb51"          # hmdb51_org/<class>/*.avi and testTrainMulti_7030_splits/
# Videos of your own, in class folders or listed by a table, under names of your choice.
# [datasets.gestures]
# layout = "folders"             # root/train/<class>/<video>.mp4, and val or test
# root = "/data/gestures"        # without these: shares = {{train = 0.8, test = 0.2}}
# [datasets.dives]
# layout = "table"               # .csv, .tsv or .parquet: path, label, split, group
# root = "/data/dives"
# table = "dives.csv"

[site]                           # for sbatch
{partition}{others}
# account = "my_project"
# qos = "long"
# constraint = "h200"
gpu_flag = "gres"                # or gpus-per-node: what the site's documentation shows
{gpu_type}
# exclusive = true               # jobs get whole nodes: see runs_per_job in docs/GUIDE.md
max_array_size = {max_array_size}
max_concurrent = 64              # elements of one array at a time
# sbatch = {{mail-type = "END"}}    # any other option of sbatch; true: one without a value
setup = []                       # lines for the node, before the worker: ["module load apptainer"]

[container]                      # without an image, workers run with kdbatch's own Python
# image = "/projects/my_project/kdbatch.sif"    # make one: make image; or oras://...@sha256:...
{runtime}
{gpu:33}# nv (NVIDIA), rocm (AMD) or none
binds = []                       # SRC[:DST[:ro]]; runs, shards and cache are always bound
# [container.env]
# NCCL_SOCKET_IFNAME = "ib0"

# [cache]                        # decoded frames, kept on the node from the first epoch on
# path = "$TMPDIR/kdbatch"
# max_gb = 20

[retries]                        # how many interruptions of each kind a run may have
timeout = 20
preemption = 100
node_failure = 5
crash = 2
requeue = 100

# What a run requests of each of its nodes, by kind: pretrain, finetune, distill, retrieve, compare,
# import; shard is kdbatch shard k400 --slurm. Options of sbatch here come before those of [site].
[resources.pretrain]
nodes = 1
gpus = {num_gpus}
cpus = 8
memory_gb = 64
minutes = {minutes}
"""


@dataclass(frozen=True, kw_only=True)
class DetectedSite:
    """The values that can be filled in. `max_array_size` is the site's, 0 if unknown;
    `runtime` is a container runtime on PATH, empty without one; `maker` is that of its GPUs.
    """

    partitions: tuple[Partition, ...] = ()
    max_array_size: int = 0
    runtime: str = ""
    num_gpus: int = 0
    maker: GpuMaker = "NVIDIA"


def detect_site() -> DetectedSite:
    """Ask SLURM, PATH and the GPU driver of this machine."""
    runtimes = [name for name in ("apptainer", "singularity") if has_command(name)]
    return DetectedSite(
        partitions=partitions(),
        max_array_size=largest_array(slurm_settings()) or 0,
        runtime=runtimes[0] if runtimes else "",
        num_gpus=len(visible_gpus()),
        maker=gpu_maker(),
    )


def write_config(path: Path, site: DetectedSite) -> bool:
    """Write a new file; returns whether there was none. A file that exists is never changed."""
    if path.exists():
        return False
    write_text(path, config_text(site))
    return True


def config_text(site: DetectedSite) -> str:
    """The text of the file. A value that was not detected is a comment with an example."""
    best = _best_partition(site.partitions)
    others = ", ".join(p.name for p in site.partitions if p != best)
    gpu_type = best.gpu_types[0] if best and len(best.gpu_types) == 1 else ""
    has_gpus = bool(site.num_gpus) or best is None or best.has_gpus
    is_amd = site.maker == "AMD" or is_amd_type(gpu_type)
    return CONFIG_TEMPLATE.format(
        partition=_line("partition", best.name if best else "", "gpu"),
        others=f"  # also here: {visible(others)}" if others else "",
        gpu_type=_line("gpu_type", gpu_type, "h200"),
        max_array_size=min(site.max_array_size or MAX_ARRAY_SIZE, MAX_ARRAY_SIZE),
        runtime=_line("runtime", site.runtime, "apptainer"),
        gpu=_line("gpu", ("rocm" if is_amd else "nv") if has_gpus else "none", ""),
        num_gpus=1 if has_gpus else 0,
        minutes=min(best.minutes if best and best.minutes else MAX_MINUTES, MAX_MINUTES),
    )


def _best_partition(found: tuple[Partition, ...]) -> Partition | None:
    """A partition with GPUs if there is one, and the default one before others."""
    return max(found, key=lambda p: (p.has_gpus, p.is_default), default=None)


def _line(name: str, value: str, example: str) -> str:
    """A line of TOML, as a comment with the example where there is no value."""
    return f"{name} = {toml_string(value)}" if value else f'# {name} = "{example}"'


def toml_string(text: str) -> str:
    """A text as a basic string of TOML, whose escapes are those of JSON, but for DEL."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", r"\u007f")
