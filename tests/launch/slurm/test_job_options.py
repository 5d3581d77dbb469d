"""The flags of a job from kdbatch.toml, and flags that this machine's sbatch does not have."""

from pathlib import Path

import pytest
from support.launching import config_in, plan_of

from kdbatch.base.errors import UserError
from kdbatch.launch.slurm.job.job_options import job_flags, unknown_options
from kdbatch.launch.slurm.submit import submit_arrays
from kdbatch.vocab.config import Config, Site
from kdbatch.vocab.jobs.resources import Resources

HELP = "  -p, --partition=partition     partition requested\n      --mail-type=type   notify on\n"


@pytest.mark.parametrize(
    ("flag", "options", "expected"),
    [
        ("gres", {}, {"gres": "gpu:h200:2"}),
        ("gres", {"gres": "lscratch:50"}, {"gres": "gpu:h200:2,lscratch:50"}),
        (
            "gpus-per-node",
            {"gres": "lscratch:50"},
            {"gres": "lscratch:50", "gpus-per-node": "h200:2"},
        ),
    ],
)
def test_gpus_are_requested_beside_other_generic_resources(flag, options, expected) -> None:
    site = Site(gpu_flag=flag, gpu_type="h200", sbatch=options)
    assert job_flags(Resources(gpus=2), site=site) == expected


def test_a_kind_without_gpus_requests_none_and_a_kind_may_name_another_type() -> None:
    site = Site(gpu_type="h200")
    assert job_flags(Resources(gpus=0), site=site) == {}
    assert job_flags(Resources(gpu_type="a100"), site=site) == {"gres": "gpu:a100:1"}
    assert job_flags(Resources(gpu_type=""), site=site) == {"gres": "gpu:1"}


def test_an_option_that_sbatch_does_not_have_is_told_before_anything_is_submitted(
    slurm: Path, tmp_path: Path
) -> None:
    (slurm / "help").write_text(HELP)
    wrong = Resources(sbatch={"mail-typ": "END"})
    config = Config(site=Site(sbatch={"mail-type": "END"}), resources={"distill": wrong})
    line = "sbatch has no --mail-typ. Did you mean 'mail-type'? All: sbatch --help"
    assert unknown_options(config) == {"resources.distill.sbatch.mail-typ": line}
    config = config_in(tmp_path, site=Site(sbatch={"mail-typ": "END"}))
    with pytest.raises(UserError, match=r"^site\.sbatch\.mail-typ: sbatch has no --mail-typ\."):
        submit_arrays(plan_of({"a": ()}), config=config)
    assert not list(slurm.glob("*.sbatch"))


def test_a_wrapper_that_prints_no_help_forbids_nothing(slurm: Path) -> None:
    (slurm / "help").write_text("Welcome to the cluster! --have fun\n")
    assert unknown_options(Config(site=Site(sbatch={"mail-typ": "END"}))) == {}
