"""The options of sbatch that a kind of run has by kdbatch.toml, and whether sbatch knows them."""

import re

from kdbatch.base.errors import UserError
from kdbatch.base.lookup import did_you_mean
from kdbatch.launch.slurm.commands import output_or_nothing
from kdbatch.vocab.config import SHARD, Config, Site
from kdbatch.vocab.jobs.resources import Resources
from kdbatch.vocab.jobs.sbatch_options import OptionValue
from kdbatch.vocab.recipes.recipe import RECIPE_KINDS

KINDS = (*RECIPE_KINDS, SHARD)
"""All that may be a job: a run of each kind, and an element of `kdbatch shard --slurm`."""


def job_flags(resources: Resources, *, site: Site) -> dict[str, OptionValue]:
    """The options of a job that the site needs, and the GPUs of its runs; or a whole node."""
    flags = dict(resources.over(site).flags)
    if site.exclusive:
        return {"exclusive": True, **flags}
    gpus = gpu_flag(resources, site=site, num_runs=resources.runs_per_job)
    more = {"gres": f"{gpus['gres']},{flags['gres']}"} if "gres" in gpus and "gres" in flags else {}
    return flags | gpus | more


def gpu_flag(resources: Resources, *, site: Site, num_runs: int = 1) -> dict[str, OptionValue]:
    """The GPUs of so many runs as the site wants them requested: `--gres=gpu:TYPE:N` or
    `--gpus-per-node=TYPE:N`; nothing for runs without a GPU.
    """
    if not resources.gpus:
        return {}
    gpu_type = resources.over(site).gpu_type
    count = ":".join(filter(None, (gpu_type, str(num_runs * resources.gpus))))
    return {"gres": f"gpu:{count}"} if site.gpu_flag == "gres" else {"gpus-per-node": count}


def check_options(config: Config) -> None:
    """Check that sbatch has all options, before any job is submitted.

    Raises:
        UserError: it has one of them not.
    """
    for where, line in unknown_options(config).items():
        raise UserError(f"{where}: {line}")


def unknown_options(config: Config) -> dict[str, str]:
    """An error for each option that this machine's sbatch does not have, by its field; none where
    sbatch does not print its options.
    """
    named = {f"site.sbatch.{name}": name for name in config.site.sbatch}
    for kind, resources in config.resources.items():
        named |= {f"resources.{kind}.sbatch.{name}": name for name in resources.sbatch}
    if not named:
        return {}
    known = set(re.findall(r"--([a-z][a-z0-9-]+)", output_or_nothing("sbatch", "--help")))
    if "partition" not in known:
        return {}
    return {
        where: f"sbatch has no --{name}.{did_you_mean(name, sorted(known))} All: sbatch --help"
        for where, name in named.items()
        if name not in known
    }
