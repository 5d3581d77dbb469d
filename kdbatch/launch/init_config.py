"""`kdbatch init`: a commented kdbatch.toml, filled in with what this machine shows."""

from dataclasses import dataclass
from pathlib import Path

from kdbatch.base.atomic_write import write_text
from kdbatch.base.errors import UserError
from kdbatch.launch.machine import has_command, visible_gpus
from kdbatch.launch.slurm.cluster_info import Partition, partitions, slurm_settings


@dataclass(frozen=True, kw_only=True)
class DetectedSite:
    """What can be filled in. `max_array_size` is SLURM's, 0 if unknown; `runtime` a container
    runtime on PATH, if there is one.
    """

    partitions: tuple[Partition, ...] = ()
    max_array_size: int = 0
    runtime: str = ""
    num_gpus: int = 0


def detect_site() -> DetectedSite:
    sizes = slurm_settings().get("MaxArraySize", "")
    return DetectedSite(
        partitions=partitions(),
        max_array_size=int(sizes) if sizes.isdigit() else 0,
        runtime=next((name for name in ("apptainer", "singularity") if has_command(name)), ""),
        num_gpus=len(visible_gpus()),
    )


def write_config(path: Path, site: DetectedSite) -> None:
    """Write `path`, unless it is there.

    Raises:
        UserError: it is.
    """
    if path.exists():
        raise UserError(
            f"{path} is there already. Change it by hand, or move it away and type: kdbatch init"
        )
    write_text(path, config_text(site))


def config_text(site: DetectedSite) -> str:
    """The file. What was not found stands there as a comment, with an example."""
    chosen = _choose(site.partitions)
    known = (
        f"  # also here: {', '.join(p.name for p in site.partitions if p != chosen)}"
        if len(site.partitions) > 1
        else ""
    )
    gpu_type = chosen.gpu_types[0] if chosen and len(chosen.gpu_types) == 1 else ""
    minutes = min(chosen.minutes, 1440) if chosen and chosen.minutes else 1440
    array_size = min(site.max_array_size, 1000) if site.max_array_size else 1000
    has_gpus = bool(site.num_gpus) or bool(chosen and chosen.has_gpus)
    return f"""# Where things lie, and what this site wants. Nothing in this file can change a number; check it with: kdbatch doctor

[paths]                          # relative to this folder
shards = "shards"
runs = "runs"
report = "report"

# Where the videos lie, as their owners publish them.
# [datasets.k400]
# root = "/data/kinetics400"     # train/<class>/<video>.mp4
# [datasets.ssv2]
# root = "/data/ssv2"            # 20bn-something-something-v2/*.webm and labels/
# [datasets.ucf101]
# root = "/data/ucf101"          # UCF-101/<class>/*.avi and ucfTrainTestlist/
# [datasets.hmdb51]
# root = "/data/hmdb51"          # hmdb51_org/<class>/*.avi and testTrainMulti_7030_splits/

[site]                           # for sbatch
{_line("partition", chosen.name if chosen else "", "gpu")}{known}
# account = "my_project"
# qos = "long"
# constraint = "h200"
gpu_flag = "gres"                # or gpus-per-node: what the site's documentation shows
{_line("gpu_type", gpu_type, "h200")}
max_array_size = {array_size}
max_concurrent = 64              # elements of one array at a time
setup = []                       # lines for the node, before the worker: ["module load apptainer"]

[container]                      # without an image, workers run with the Python that kdbatch is installed in
# image = "/projects/my_project/kdbatch.sif"    # make one: make image
{_line("runtime", site.runtime, "apptainer")}
{'gpu = "nv"  ' if has_gpus or not chosen else 'gpu = "none"'}                     # nv (NVIDIA), rocm (AMD) or none
binds = []                       # SRC[:DST[:ro]]; the folders of runs, shards and cache are bound without being named
# [container.env]
# NCCL_SOCKET_IFNAME = "ib0"

# [cache]                        # decoded frames, kept on the node from the first epoch on
# path = "$TMPDIR/kdbatch"
# max_gb = 20

[retries]                        # how often a run may be interrupted by each before it has failed
timeout = 20
preemption = 100
node_failure = 5
crash = 2
requeue = 100

# What a run asks of each of its nodes, by kind: pretrain, finetune, distill, retrieve, compare; and shard, for kdbatch shard --slurm.
[resources.pretrain]
nodes = 1
gpus = {1 if has_gpus or not chosen else 0}
cpus = 8
memory_gb = 64
minutes = {minutes}
"""


def _choose(found: tuple[Partition, ...]) -> Partition | None:
    """One with GPUs, the default one before others."""
    return max(found, key=lambda p: (p.has_gpus, p.is_default), default=None)


def _line(name: str, value: str, example: str) -> str:
    return f'{name} = "{value}"' if value else f'# {name} = "{example}"'
