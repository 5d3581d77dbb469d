"""`sbatch --test-only` for each kind of run, against the fake cluster."""

import re
from dataclasses import replace
from pathlib import Path

from support.launching import config_in

from kdbatch.launch.checks.kinds import kind_findings
from kdbatch.launch.run_folders import submissions_dir
from kdbatch.vocab.config import Site
from kdbatch.vocab.jobs.resources import Resources


def test_each_request_that_differs_is_asked_for_once(slurm: Path, tmp_path: Path) -> None:
    config = replace(
        config_in(tmp_path, site=Site(partition="gpu", sbatch={"exclusive": True})),
        resources={"shard": Resources(gpus=0, partition="closed"), "distill": Resources(gpus=4)},
    )
    found = [(f.severity, f.subject, f.message) for f in kind_findings(config)]
    starts = "SLURM would start one at 2026-01-02T03:04:05 on n1, partition gpu"
    assert found == [
        ("ok", "jobs of import, pretrain, finetune, retrieve, compare", starts),
        ("ok", "jobs of distill", starts),
        (
            "bad",
            "jobs of shard",
            "sbatch would refuse: allocation failure: Invalid partition name specified. Check "
            "partition under [site] in kdbatch.toml against: sinfo --format='%P %a'",
        ),
    ]
    scripts = {path.name: path.read_text() for path in slurm.glob("test-only-*")}
    flags = re.findall(
        r"^#SBATCH (--(?:gres|exclusive).*)$", scripts["test-only-kdbatch-distill.sbatch"], re.M
    )
    assert flags == ["--exclusive", "--gres=gpu:4"]
    assert not (submissions_dir(config.runs_dir) / "test-only").exists()
    assert not (slurm / "queue").exists()
