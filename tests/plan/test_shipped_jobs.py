"""Experiments and profiles that come with kdbatch."""

from pathlib import Path

import pytest
from support.inputs import JOBS

from kdbatch.base.errors import UserError
from kdbatch.plan.profiles.profile_file import load_profile
from kdbatch.plan.resolve import make_plan
from kdbatch.plan.shipped_jobs import SHIPPED_JOBS, shipped_files
from kdbatch.vocab.config import Config


def test_they_are_the_files_of_the_repository() -> None:
    assert SHIPPED_JOBS.resolve() == JOBS
    assert {str(path) for path in shipped_files()} >= {"subset_size.yaml", "profiles/paper.yaml"}


def test_a_profile_beside_the_experiment_comes_before_the_shipped_one(tmp_path: Path) -> None:
    experiment = tmp_path / "mine.yaml"
    assert load_profile(experiment, "toy") == load_profile(JOBS / "subset_size.yaml", "toy")
    (tmp_path / "profiles").mkdir()
    text = (JOBS / "profiles" / "toy.yaml").read_text()
    (tmp_path / "profiles" / "toy.yaml").write_text(text.replace("seeds: [0]", "seeds: [7]"))
    assert load_profile(experiment, "toy").seeds == (7,)


def test_a_profile_that_is_nowhere_is_named_with_those_of_both_places(tmp_path: Path) -> None:
    (tmp_path / "profiles").mkdir()
    (tmp_path / "profiles" / "own.yaml").write_text("")
    with pytest.raises(UserError, match="Did you mean 'toy'.* Profiles: h200, micro, own, paper"):
        load_profile(tmp_path / "mine.yaml", "toi")


@pytest.mark.parametrize(
    ("name", "profile", "says"),
    [
        ("jobs/subset_size.yaml", "paper", "kdbatch brings it.*kdbatch init"),
        ("jobs/subset_size.yaml", "nothing", "kdbatch brings it.*kdbatch init"),
        ("jobs/mine.yaml", "paper", "kdbatch brings methods, out_of_distribution.*kdbatch init"),
    ],
)
def test_a_missing_experiment_is_named_and_not_its_profile(
    in_tmp: Path, name: str, profile: str, says: str
) -> None:
    with pytest.raises(UserError, match=f"^{name}: there is no such file. {says}"):
        make_plan([Path(name)], profile=profile, config=Config())


def test_the_nearest_experiment_of_the_folder_is_suggested(in_tmp: Path) -> None:
    (in_tmp / "subset_size.yaml").write_text("")
    with pytest.raises(UserError, match="Did you mean 'subset_size.yaml'"):
        make_plan([Path("subset_sise.yaml")], profile="toy", config=Config())
