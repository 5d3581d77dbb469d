"""Records of submitted plans, as the report and the commands read them."""

import shutil
from pathlib import Path

import pytest
from support.reports import StudySpec

from kdbatch.base.errors import UserError
from kdbatch.vocab.plans.records import find_records


@pytest.mark.parametrize("name", ["subset_size.toy (copy).json", "other.toy.json", "a.json"])
def test_a_plan_under_another_name_is_told_and_never_counted(tmp_path: Path, name: str) -> None:
    StudySpec().write(tmp_path)
    (path,) = (tmp_path / "plans").glob("*.json")
    shutil.copy(path, path.with_name(name))
    with pytest.raises(UserError, match=rf"is the plan {path.name} under another name\. .*: mv "):
        find_records(tmp_path)
