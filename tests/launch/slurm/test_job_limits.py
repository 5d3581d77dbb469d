"""A limit on the number of jobs: what fits is handed over, the rest stays planned and follows."""

import pytest
from support.launching import config_in, ids, plan_of, submitted

from kdbatch.cli.command import dispatch
from kdbatch.cli.commands import Commands
from kdbatch.launch.queue_feed import FeedPace, runs_to_feed
from kdbatch.launch.run_folders import submissions_dir, write_runs
from kdbatch.launch.run_status import load_run_rows
from kdbatch.launch.slurm.arrays import MetLimit
from kdbatch.launch.slurm.commands import queued_jobs
from kdbatch.launch.slurm.error_meanings import limit_on_jobs
from kdbatch.launch.slurm.sbatch.call import JobLimitError
from kdbatch.launch.slurm.squeue.shared_answers import QueueAnswer
from kdbatch.launch.slurm.submissions import load_sbatches
from kdbatch.launch.slurm.submit import submit_arrays
from kdbatch.vocab.runs.folder import RunFolder

EIGHT = dict.fromkeys("abcdefgh", ()) | {"child": ("a", "h")}


def test_what_fits_is_submitted_and_the_rest_when_the_queue_has_emptied(slurm, tmp_path):
    plan, config, limits = plan_of(EIGHT), config_in(tmp_path), list[MetLimit]()
    (slurm / "max_submit").write_text("5")
    first = submit_arrays(plan, config=config, on_limit=limits.append)
    assert list(first) == [ids(plan)[name] for name in "abcde"]
    left = tuple(ids(plan)[name] for name in (*"fgh", "child"))
    assert limits == [MetLimit(name="AssocMaxSubmitJobLimit", run_ids=left)]
    for name in "bcde":
        RunFolder(config.runs_dir / ids(plan)[name]).done.write_text("{}")
    (slurm / "queue").write_text(f"{first[ids(plan)['a']]}|kdbatch|RUNNING|None\n")
    assert tuple(submit_arrays(plan, config=config, on_limit=limits.append)) == left
    assert len(limits) == 1 and not any(job.is_held for job in queued_jobs())


def test_status_names_the_limit_until_a_submit_has_met_none(slurm, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    plan, config = plan_of(EIGHT), config_in(tmp_path)
    (slurm / "max_submit").write_text("5")
    for line in (
        "took no more jobs (AssocMaxSubmitJobLimit), so 4 runs of the last submit stay planned",
        "",
    ):
        submit_arrays(plan, config=config)
        dispatch(Commands(), ["status"])
        printed = capsys.readouterr().out
        assert line in printed and bool(line) == ("took no more jobs" in printed)
        (slurm / "max_submit").unlink(missing_ok=True)


def test_a_refused_part_leaves_no_folder_behind(slurm, tmp_path):
    config = config_in(tmp_path)
    (slurm / "max_submit").write_text("3")
    submit_arrays(plan_of(EIGHT), config=config)
    folders = {path for path in submissions_dir(config.runs_dir).iterdir() if path.is_dir()}
    assert folders == set(load_sbatches(submissions_dir(config.runs_dir)))


def test_an_array_that_is_larger_than_slurm_allows_goes_in_parts(slurm, tmp_path):
    (slurm / "max_array_size").write_text("3")
    assert len(submit_arrays(plan_of(EIGHT), config=config_in(tmp_path))) == 9
    sizes = [text.count("_") for text in _arrays(slurm)]
    assert sizes == [2, 2, 2, 2, 0]


def _arrays(slurm) -> list[str]:
    """The ids of the elements of each job of the queue, joined."""
    found: dict[str, str] = {}
    for job in queued_jobs():
        found[job.number] = found.get(job.number, "") + job.id
    return list(found.values())


def test_a_limit_that_lets_no_job_pass_is_an_error(slurm, tmp_path):
    (slurm / "max_submit").write_text("0")
    with pytest.raises(JobLimitError, match="AssocMaxSubmitJobLimit.*wait until some have ended"):
        submit_arrays(plan_of(EIGHT), config=config_in(tmp_path))


@pytest.mark.parametrize(
    ("error", "limit"),
    [
        ("sbatch: error: AssocGrpSubmitJobsLimit", "AssocGrpSubmitJobsLimit"),
        ("sbatch: error: QOSMaxSubmitJobPerUserLimit", "QOSMaxSubmitJobPerUserLimit"),
        ("sbatch: error: Slurm job queue full, sleeping and retrying.", "MaxJobCount"),
        ("Invalid job array specification", "MaxArraySize"),
        ("AssocMaxWallDurationPerJobLimit", ""),
        ("Job violates accounting/QOS policy (job submit limit, user's size limits)", ""),
    ],
)
def test_limits_on_jobs_are_told_from_limits_on_their_size(error, limit):
    assert limit_on_jobs(error) == limit


def test_only_runs_that_slurm_never_had_are_fed_and_not_below_one_that_was_cancelled(tmp_path):
    plan = plan_of({"gone": (), "new": (), "below": ("gone",), "next": ("new",)})
    config = config_in(tmp_path)
    write_runs(plan, config=config)
    submitted(config, ids(plan)["gone"])
    rows = {row.run_id: row for row in load_run_rows(config.runs_dir, live=QueueAnswer())}
    assert runs_to_feed(plan, rows) == [ids(plan)["new"], ids(plan)["next"]]


def test_slurm_is_asked_again_when_a_tenth_of_the_jobs_has_ended_or_after_a_quarter_hour():
    pace = FeedPace(100, now=0.0)
    asked = [(95, 60.0), (90, 120.0), (90, 180.0), (90, 1100.0), (90, 1160.0)]
    assert [pace.may_take_more(jobs, now=now) for jobs, now in asked] == [
        False,
        True,
        False,
        True,
        False,
    ]
