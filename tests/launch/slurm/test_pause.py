"""A full disk pauses the study: nothing is submitted or trained until `resume` finds room."""

import errno
from pathlib import Path

import pytest
from support.launching import config_in, plan_of
from support.small_disk import small_disk

from kdbatch.base.errors import UserError
from kdbatch.launch.slurm.submit import submit_arrays
from kdbatch.run.attempt.ending import disk_ending, pause_if_shared
from kdbatch.vocab.jobs.pause import allow_pause, end_pause, pause, reason_of_pause
from kdbatch.vocab.runs.folder import RunFolder

FULL = "runs/r1/checkpoint.pt: No space left on device (0 bytes free)"


def test_a_paused_study_submits_nothing_until_the_pause_has_ended(slurm, tmp_path):
    plan, config = plan_of({"a": ()}), config_in(tmp_path)
    submit_arrays(plan, config=config)
    (slurm / "queue").write_text("")
    pause(config.runs_dir, FULL)
    with pytest.raises(UserError, match="pauses: runs/r1.*Make room, then: kdbatch resume"):
        submit_arrays(plan, config=config)
    end_pause(config.runs_dir)
    assert list(submit_arrays(plan, config=config).values()) == ["42"]


def test_a_pause_is_written_on_a_full_disk_and_does_not_end_while_it_is_full(tmp_path):
    with small_disk(tmp_path / "runs", size="64k") as runs_dir:
        allow_pause(runs_dir)
        with pytest.raises(OSError, match="No space"):
            (runs_dir / "pad").write_bytes(bytes(1 << 20))
        pause(runs_dir, FULL)
        assert reason_of_pause(runs_dir) == FULL
        with pytest.raises(UserError, match=r"Now: No space left on device"):
            end_pause(runs_dir)


@pytest.mark.parametrize(("place", "pauses"), [("runs/r1/x", True), ("/proc/x", False)])
def test_only_the_disk_of_the_runs_pauses_them(tmp_path, place, pauses):
    folder = RunFolder(tmp_path / "runs" / "r1")
    folder.path.mkdir(parents=True)
    allow_pause(tmp_path / "runs")
    path = str(tmp_path / Path(place))
    ending = disk_ending(OSError(errno.ENOSPC, "no space", path), path=folder.path)
    assert ending is not None
    pause_if_shared(ending, folder)
    assert bool(reason_of_pause(tmp_path / "runs")) == pauses
