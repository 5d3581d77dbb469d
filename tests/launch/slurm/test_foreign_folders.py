"""Job scripts in folders whose names are the foreign strings, read and run by a real bash."""

import re
import subprocess
from pathlib import Path

import pytest
from support.foreign_strings import STRINGS
from support.launching import act, config_in, events, plan_of
from support.slurm import run_array_element

from kdbatch.base.errors import UserError
from kdbatch.launch.run_folders import submissions_dir
from kdbatch.launch.slurm.exit_reason import last_exit_reason
from kdbatch.launch.slurm.submissions import last_submissions
from kdbatch.launch.slurm.submit import submit_arrays

# A pattern of SLURM's file names, or what a line of the script cannot have.
REFUSED = re.compile(r"%(%|\d*[A-Za-z])|[\\\x00-\x1f\udcff]")


@pytest.mark.parametrize("text", STRINGS)
def test_the_script_starts_the_worker_and_notes_its_end_in_its_own_folder(
    slurm: Path, stand_in_package: Path, tmp_path: Path, text: str
) -> None:
    folder = tmp_path / text.replace("/", "\u2215")
    plan, config = plan_of({"a": (), "b": ()}), config_in(folder)
    before = sorted(path.name for path in tmp_path.iterdir())
    try:
        submit_arrays(plan, config=config)
    except UserError as error:
        assert REFUSED.search(text) and len(str(error).splitlines()) == 1
        assert last_submissions(submissions_dir(config.runs_dir)) == {}
        assert sorted(path.name for path in tmp_path.iterdir()) == before
        return
    assert not REFUSED.search(text)
    script = slurm / "41.sbatch"
    subprocess.run(["bash", "-n", str(script)], check=True)
    act(plan, config, "b", exit=3)
    ended = run_array_element(slurm, "41_1")
    assert ended.returncode == 3, ended.stderr
    assert events(plan, config) == ["begin b"]
    (submission,) = {
        s.job_id: s
        for s in last_submissions(submissions_dir(config.runs_dir)).values()
        if s.job_id == "41_1"
    }.values()
    reason = last_exit_reason(submission)
    assert reason is not None and (reason.code, reason.times) == (3, 1)
    made = {path.name for path in tmp_path.iterdir()} - set(before)
    assert made == {folder.name}
