"""Folders that SLURM or submitit would read as something else are refused before a submission."""

from pathlib import Path

import pytest
from submitit.core.utils import JobPaths

from kdbatch.base.errors import UserError
from kdbatch.base.parse import parse
from kdbatch.launch.slurm.job.job_script import check_submit_folder
from kdbatch.vocab.config import Site

REFUSED = ["100%a", "%A", "50%%", "a%4n", "%j", "%t", "%x", "back\\slash", "two\nlines", "a\tb"]
TAKEN = ["50% done", "100%", "5%-6%", "a b,c:d \u00e9", "$HOME", "it's", '"q"', "#1", "`id`"]


@pytest.mark.parametrize("name", REFUSED)
def test_a_name_with_a_pattern_is_refused_in_one_line(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match="SLURM's file names cannot have") as error:
        check_submit_folder(tmp_path / name / "runs" / "slurm")
    assert "Rename that folder" in str(error.value)


@pytest.mark.parametrize("name", TAKEN)
def test_other_names_are_taken_and_stay_as_they_are(tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    check_submit_folder(folder)
    assert JobPaths(folder, job_id="7_3").stderr == folder / "7_3_0_log.err"


@pytest.mark.parametrize("field", ["partition", "account", "qos", "constraint", "gpu_type"])
@pytest.mark.parametrize("value", ["a\n#SBATCH --uid=0", "a\rb", "a\0", "--wrap=x", "a\x1bb"])
def test_a_value_of_the_site_is_one_word_of_the_script(field: str, value: str) -> None:
    with pytest.raises(UserError, match=f"{field}: found "):
        parse(Site, {field: value}, where="site")
