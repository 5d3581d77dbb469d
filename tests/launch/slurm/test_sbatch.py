"""A job that SLURM has taken is found by its name, whatever sbatch prints; no other is touched."""

import dataclasses
import os
import stat

import pytest
from support.launching import config_in, plan_of
from support.slurm import run_array_element

from kdbatch.base.errors import UserError
from kdbatch.launch.run_folders import submissions_dir
from kdbatch.launch.slurm.commands import queued_jobs
from kdbatch.launch.slurm.error_meanings import is_transient, remedy
from kdbatch.launch.slurm.sbatch import call
from kdbatch.launch.slurm.submissions import last_submissions, load_sbatches, save_sbatch
from kdbatch.launch.slurm.submit import submit_arrays

SHAPE = {"a": (), "b": (), "x": ("a", "b")}
FOREIGN = "7|somebody-elses|PENDING|JobHeldUser\n42_1|gr\udcfc\udcdfe|an|odd one|PENDING|None\n"


def held(slurm):
    return {job.id for job in queued_jobs() if job.is_held} - {"7"}


@pytest.mark.parametrize(
    "says",
    [
        b"ID\n",
        b"ID;west\n",
        b"",
        b"Your group runs job 7 of 50 allowed\nSubmitted batch job ID\n",
        b"Submitted batch job ID\nYour project has used job 7 of 100 credits\n",
        b"Submitted batch job 7\n",
        b"Submitted batch job 7\nSubmitted batch job ID\n",
        b"Submitted batch job ID on cluster west\n",
        b"\033[32mSubmitted batch job ID\033[0m\n",
        b"Gr\xfc\xdfe\nSubmitted batch job ID\n",
        b"Gr\xfc\xdfe ID\n",
        b"Submitted batch job ID.\n",
        b"Submitted batch job 99999999999999999999\n",
    ],
)
def test_the_job_is_found_whatever_sbatch_prints(slurm, tmp_path, says):
    (slurm / "says").write_bytes(says)
    (slurm / "warns").write_text("sbatch: warning: can't honor something of job 7\n")
    (slurm / "queue").write_bytes(FOREIGN.encode(errors="surrogateescape"))
    plan, config = plan_of({"a": (), "b": ()}), config_in(tmp_path)
    submitted = submit_arrays(plan, config=config)
    assert sorted(submitted.values()) == ["41_0", "41_1"] and not held(slurm)
    assert submit_arrays(plan, config=config) == {}
    assert (slurm / "scontrol.txt").read_text() == "release 41\n"
    assert not (slurm / "scancel.txt").exists()


@pytest.mark.parametrize("end", ["exit 1", "exec sleep 60"])
def test_a_job_that_sbatch_names_is_taken_however_a_wrapper_ends(slurm, tmp_path, monkeypatch, end):
    monkeypatch.setattr(call, "SBATCH_SECONDS", 3.0)
    (slurm / "sbatch").rename(slurm / "real")
    (slurm / "sbatch").write_text(f'#!/bin/bash\n"{slurm}/real" "$@"; PATH=/usr/bin:/bin {end}\n')
    (slurm / "sbatch").chmod(0o755)
    submitted = submit_arrays(plan_of({"a": ()}), config=config_in(tmp_path))
    assert list(submitted.values()) == ["41"] and not held(slurm)
    assert not (slurm / "scancel.txt").exists()


def test_a_release_that_is_refused_is_told_though_a_wrapper_loses_its_exit_code(slurm, tmp_path):
    real = (slurm / "scontrol").read_text()
    (slurm / "scontrol").write_text("#!/bin/bash\necho slurm_suspend error: Access denied >&2\n")
    plan, config = plan_of({"a": ()}), config_in(tmp_path)
    with pytest.raises(UserError, match=r"error: Access denied. Try it: scontrol release 41$"):
        submit_arrays(plan, config=config)
    (slurm / "scontrol").write_text(real)
    assert submit_arrays(plan, config=config) == {} and not held(slurm)


def test_a_job_that_only_the_accounting_has_is_found_there(slurm, tmp_path):
    (slurm / "says").write_text("hello\n")
    (slurm / "squeue_says").write_text("")
    (slurm / "sacct").write_text(
        f"#!/bin/bash\ncd {slurm}\n"
        "sed -n 's/^#SBATCH --job-name=/41|/p' 41.sbatch; echo '40|kdbatch'\n"
    )
    (slurm / "sacct").chmod(0o755)
    config = config_in(tmp_path)
    assert list(submit_arrays(plan_of({"a": ()}), config=config).values()) == ["41"]


def test_a_job_that_is_not_found_is_cancelled_by_name_and_noted_for_the_next_submit(
    slurm, tmp_path
):
    (slurm / "says").write_text("Have a nice day\n")
    (slurm / "squeue_says").write_text("")
    plan, config = plan_of({"a": (), "b": ()}), config_in(tmp_path)
    with pytest.raises(UserError, match=r"printed 'Have a nice day'.*scancel --name=kdbatch-wave0"):
        submit_arrays(plan, config=config)
    (entry,) = load_sbatches(submissions_dir(config.runs_dir)).values()
    assert entry.number == "" and (slurm / "scancel.txt").read_text() == f"--name={entry.name}\n"
    (slurm / "squeue_says").unlink()
    (slurm / "queue").write_text(f"41_0|{entry.name}|PENDING|Priority\n7|x|PENDING|JobHeldUser\n")
    assert sorted(submit_arrays(plan, config=config).values()) == ["42_0", "42_1"]
    assert (slurm / "scancel.txt").read_text().splitlines()[1:] == ["41"]


def test_a_job_whose_number_is_not_known_while_squeue_fails_is_settled_by_the_next_submit(
    slurm, tmp_path
):
    (slurm / "says").write_text("ID;west\n")
    (slurm / "squeue_fails").write_text("slurm_load_jobs error: Invalid user\n")
    plan, config = plan_of({"a": (), "b": ()}), config_in(tmp_path)
    with pytest.raises(UserError, match="its job has no known number yet. squeue: "):
        submit_arrays(plan, config=config)
    for name in ("squeue_fails", "says"):
        (slurm / name).unlink()
    assert sorted(submit_arrays(plan, config=config).values()) == ["42_0", "42_1"]
    assert (slurm / "scancel.txt").read_text() == "41\n" and not held(slurm)


def test_a_refusal_whose_exit_code_a_wrapper_has_lost_is_a_refusal(slurm, tmp_path):
    (slurm / "sbatch").write_text("#!/bin/bash\necho 'sbatch: error: Invalid account' >&2\n")
    with pytest.raises(UserError, match="sbatch refused wave0-.*: sbatch: error: Invalid account"):
        submit_arrays(plan_of({"a": ()}), config=config_in(tmp_path))
    assert not load_sbatches(submissions_dir(config_in(tmp_path).runs_dir))


def test_a_held_job_that_no_entry_knows_is_cancelled_though_all_entries_are_settled(
    slurm, tmp_path
):
    plan, config = plan_of({"a": ()}), config_in(tmp_path)
    submit_arrays(plan, config=config)
    (entry,) = load_sbatches(submissions_dir(config.runs_dir)).values()
    ours = entry.name[: -len("abcdef")] + "abcdef"
    with (slurm / "queue").open("a") as queue:
        queue.write(f"50_0|{ours}|PENDING|JobHeldUser\n51|x{ours}|PENDING|JobHeldUser\n")
    assert submit_arrays(plan, config=config) == {}
    assert (slurm / "scancel.txt").read_text() == "50\n"


@pytest.mark.parametrize(
    "says",
    ["slurm_load_jobs: warning\n", "garbage\n", "JOBID PARTITION NAME USER ST\n"],
)
def test_nothing_is_submitted_twice_while_squeue_prints_words_that_are_no_jobs(
    slurm, tmp_path, says
):
    plan, config = plan_of(SHAPE), config_in(tmp_path)
    submit_arrays(plan, config=config)
    (slurm / "squeue_says").write_text(says)
    with pytest.raises(UserError, match="has no list of jobs"):
        submit_arrays(plan, config=config)
    assert len(list(slurm.glob("*.sbatch"))) == 2


def test_a_squeue_whose_exit_code_a_wrapper_has_lost_has_failed(slurm, tmp_path):
    (slurm / "squeue_says").write_text("")
    (slurm / "squeue_warns").write_text("slurm_load_jobs error: Access denied\n")
    with pytest.raises(UserError, match="no list of jobs: 'slurm_load_jobs error: Access denied'"):
        queued_jobs()
    (slurm / "squeue_warns").write_text("module: slurm/23 loaded\n")
    assert queued_jobs() == ()


@pytest.mark.parametrize("name", ["squeue", "scontrol", "scancel", "srun"])
def test_nothing_is_submitted_where_a_command_of_slurm_is_missing(
    slurm, tmp_path, monkeypatch, name
):
    monkeypatch.setenv("PATH", f"{slurm}:/usr/bin:/bin")
    (slurm / name).unlink()
    with pytest.raises(UserError, match=f"not {name}: nothing is submitted"):
        submit_arrays(plan_of({"a": ()}), config=config_in(tmp_path))
    assert not list(slurm.glob("*.sbatch"))


def test_a_number_that_slurm_has_given_to_another_job_is_not_released(slurm, tmp_path):
    plan, config = plan_of({"a": (), "b": ()}), config_in(tmp_path)
    submit_arrays(plan, config=config)
    ((folder, entry),) = load_sbatches(submissions_dir(config.runs_dir)).items()
    save_sbatch(folder, dataclasses.replace(entry, released=False))
    (slurm / "queue").write_text("41_0|another-study|PENDING|JobHeldUser\n")
    (slurm / "scontrol.txt").unlink()
    submit_arrays(plan, config=config)
    assert "release 41" not in (slurm / "scontrol.txt").read_text().splitlines()


@pytest.mark.parametrize(
    ("error", "part"),
    [
        ("sbatch: error: AssocMaxSubmitJobLimit\nsbatch: error: Batch job submission failed: Job "
         "violates accounting/QOS policy (job submit limit, user's size and/or time limits)",
         "fewer jobs in the queue"),
        ("sbatch: error: QOSMaxSubmitJobPerUserLimit", "fewer jobs in the queue"),
        ("sbatch: error: AssocGrpSubmitJobsLimit", "fewer jobs in the queue"),
        ("sbatch: error: QOSMaxWallDurationPerJobLimit", "Lower minutes"),
        ("Requested time limit is invalid (missing or exceeds some limit)", "Lower minutes"),
        ("sbatch: error: QOSMaxGRESPerUser", "request less under [resources]"),
        ("Job violates accounting/QOS policy", "request less under [resources]"),
        ("sbatch: error: Batch job submission failed: Invalid job array specification",
         "Lower max_array_size"),
        ("invalid partition specified: gpuu", "Check partition"),
        ("Invalid account or account/partition combination specified", "Check account"),
        ("Invalid qos specification", "Check qos"),
        ("Invalid feature specification", "Check constraint"),
        ("Invalid generic resource (gres) specification", "Check gpu_flag and gpu_type"),
        ("Requested node configuration is not available", "No node has all"),
        ("something new", "Check [site]"),
    ],
)  # fmt: skip
def test_a_limit_is_named_with_what_would_do(error, part):
    assert part in remedy(error) and not is_transient(error)


@pytest.mark.parametrize(
    "error",
    [
        "Unexpected message received",
        "Message receive failure",
        "Protocol authentication error",
        "I/O error writing script/environment to file",
        "Requested operation is presently disabled",
        "Unable to contact slurm controller (connect failure)",
        "Job can not be altered now, try again later",
        "Slurm backup controller in standby mode",
        "Communication connection failure",
        "Zero Bytes were transmitted or received",
        "Slurm temporarily unable to accept job, sleeping and retrying",
        "Resource temporarily unavailable",
        "Transport endpoint is not connected",
        "sacct: error: Sending PersistInit msg: Connection refused",
    ],
)
def test_passing_errors_are_tried_again(slurm, tmp_path, error):
    (slurm / "refuse").write_text(f"sbatch: error: Batch job submission failed: {error}\n")
    (slurm / "refuse_once").touch()
    assert list(submit_arrays(plan_of({"a": ()}), config=config_in(tmp_path)).values()) == ["41"]


def test_a_refusal_has_the_first_and_the_last_error_and_no_more_of_them_than_fits(slurm, tmp_path):
    (slurm / "refuse").write_text(
        "sbatch: error: cli_filter: use fewer GPUs\nsbatch: error: see the wiki\n"
        f"sbatch: error: Batch job submission failed: Invalid account {'x' * 9000}\nbye\n"
    )
    with pytest.raises(
        UserError, match="cli_filter: use fewer GPUs; Batch job .*account x"
    ) as told:
        submit_arrays(plan_of({"a": ()}), config=config_in(tmp_path))
    assert "wiki" not in str(told.value) and len(str(told.value)) < 600


def test_arrays_before_a_refusal_are_reported_as_they_are_taken(slurm, tmp_path):
    plan, config = plan_of(SHAPE), config_in(tmp_path)
    taken: dict[str, str] = {}

    def on_submitted(jobs):
        taken.update(jobs)
        (slurm / "refuse").write_text("sbatch: error: Invalid account specified\n")

    with pytest.raises(UserError, match="Invalid account specified"):
        submit_arrays(plan, config=config, on_submitted=on_submitted)
    assert sorted(taken.values()) == ["41_0", "41_1"]
    assert len(last_submissions(submissions_dir(config.runs_dir))) == 2


def test_only_the_owner_can_write_what_nodes_load(slurm, tmp_path):
    before = os.umask(0)
    try:
        config = config_in(tmp_path)
        submit_arrays(plan_of({"a": (), "b": ()}), config=config)
    finally:
        os.umask(before)
    (folder,) = load_sbatches(submissions_dir(config.runs_dir))
    paths = [folder, *folder.glob("*.pkl"), *folder.glob("*.sh")]
    assert len(paths) == 4
    assert not any(path.stat().st_mode & (stat.S_IWGRP | stat.S_IWOTH) for path in paths)


def _open_folder(folder):
    folder.chmod(0o775)


def _open_pickle(folder):
    (folder / "41_1_submitted.pkl").chmod(0o666)


def _link(folder):
    pickle = folder / "41_1_submitted.pkl"
    pickle.rename(folder.parent / "elsewhere.pkl")
    pickle.symlink_to(folder.parent / "elsewhere.pkl")


def _other_folder(folder):
    folder.rename(folder.with_name("moved"))
    folder.symlink_to(folder.with_name("moved"))


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (_open_folder, "can be changed by others (mode 775)"),
        (_open_pickle, "can be changed by others (mode 666)"),
        (_link, "is not a file"),
        (_other_folder, "cannot be opened as a folder"),
    ],
)
def test_a_pickle_that_others_could_have_written_is_not_loaded(
    slurm, stand_in_package, tmp_path, damage, reason
):
    config = config_in(tmp_path)
    submit_arrays(plan_of({"a": (), "b": ()}), config=config)
    (folder,) = load_sbatches(submissions_dir(config.runs_dir))
    damage(folder.resolve())
    ended = run_array_element(slurm, "41_1")
    assert ended.returncode == 2 and reason in ended.stderr
    assert not (config.runs_dir / "events.txt").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_pickle_of_another_user_is_not_loaded(slurm, stand_in_package, tmp_path):
    config = config_in(tmp_path)
    submit_arrays(plan_of({"a": (), "b": ()}), config=config)
    (folder,) = load_sbatches(submissions_dir(config.runs_dir))
    os.chown(folder, 12345, -1)
    ended = run_array_element(slurm, "41_1")
    assert ended.returncode == 2 and "belongs to user 12345" in ended.stderr
