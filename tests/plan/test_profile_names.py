"""Names and schedules of a profile that mean nothing are told when planning."""

import shutil
from pathlib import Path

import pytest
from support.inputs import JOBS

from kdbatch.base.errors import UserError
from kdbatch.plan.profiles.profile_file import load_profile
from kdbatch.plan.resolve import make_plan

MICRO = (JOBS / "profiles" / "micro.yaml").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        (
            "[same_task, ",
            "[same_tsk, ",
            "leave_out: no experiment has the control or probe 'same_tsk'. Did",
        ),
        ("{target: [ucf101]", "{tarqet: [ucf101]", "keep: no experiment has the axis in vary"),
        ("10k: 8", "10K: 8", "subsets: no experiment has the subset '10K'. Did you mean '10k'"),
        ("10k: 8", "10k: -8", "subsets.10k: '-8' is not a valid subset."),
        ("warmup_epochs: 1.0", "warmup_epochs: 2.5", "pretrain.warmup_epochs: found 2.5, but the"),
        ("compare: {num_clips: 8", "compare: {num_clips: 4", ""),
        ("batch_clips: 4}", "batch_clips: 9}", "compare.batch_clips: found 9, and a map has 8"),
        (
            "distill: {epochs: 2",
            "distill: {milestones: [0.5], epochs: 2",
            "distill.milestones: decay: cosine has none. Write decay: steps",
        ),
    ],
)
def test_a_name_or_schedule_without_meaning_is_named(
    tmp_path: Path, old: str, new: str, says: str
) -> None:
    path = tmp_path / "profiles" / "mine.yaml"
    path.parent.mkdir()
    assert old in MICRO
    path.write_text(MICRO.replace(old, new, 1))
    if not says:
        assert load_profile(tmp_path / "study.yaml", "mine").seeds == (0,)
        return
    with pytest.raises(UserError) as caught:
        load_profile(tmp_path / "study.yaml", "mine")
    assert f"{path}: {says}" in str(caught.value) and "\n" not in str(caught.value)


def test_a_control_of_an_own_experiment_beside_it_may_be_left_out(tmp_path: Path) -> None:
    (tmp_path / "profiles").mkdir()
    text = MICRO.replace("[same_task, ", "[mine, ")
    (tmp_path / "profiles" / "mine.yaml").write_text(text)
    (tmp_path / "other.yaml").write_text("controls: {mine: {title: Mine}}\n")
    assert load_profile(tmp_path / "study.yaml", "mine").leave_out[0] == "mine"


def test_a_batch_of_a_map_that_the_test_videos_do_not_fill_is_told(sharded) -> None:
    """A node would find it, after the networks were trained."""
    config = sharded(k400=1000, ucf101=20, hmdb51=20)
    shutil.copytree(JOBS, "jobs")
    profile = Path("jobs/profiles/micro.yaml")
    profile.write_text(
        MICRO.replace("{num_clips: 8, batch_clips: 4}", "{num_clips: 99, batch_clips: 11}")
    )
    with pytest.raises(UserError) as caught:
        make_plan([Path("jobs/subset_size.yaml")], profile="micro", config=config)
    (line,) = caught.value.lines
    assert "compare.batch_clips is 11, and ucf101/test01 has 10 videos" in line
    profile.write_text(
        MICRO.replace("{num_clips: 8, batch_clips: 4}", "{num_clips: 99, batch_clips: 10}")
    )
    assert make_plan([Path("jobs/subset_size.yaml")], profile="micro", config=config).runs


def test_a_share_of_held_out_videos_that_is_no_video_is_told(sharded) -> None:
    """A node would find it, after networks were pretrained."""
    config = sharded(k400=1000, ucf101=20, hmdb51=20)
    shutil.copytree(JOBS, "jobs")
    profile = Path("jobs/profiles/micro.yaml")
    assert MICRO.count("ucf101: {share: 0.2,") == 1
    profile.write_text(MICRO.replace("ucf101: {share: 0.2,", "ucf101: {share: 0.03,"))
    with pytest.raises(UserError, match=r"selection\.ucf101\.share is 0\.03, which is no video"):
        make_plan([Path("jobs/subset_size.yaml")], profile="micro", config=config)
