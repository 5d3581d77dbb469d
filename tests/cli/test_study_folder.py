"""The folder of a study: found from the folders below it, made by `init`, and left as it is by
commands that find nothing.
"""

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.inputs import JOBS
from support.launching import config_in, plan_of

from kdbatch.base.errors import UserError
from kdbatch.base.study_folder import find_study
from kdbatch.launch.run_folders import write_runs
from kdbatch.vocab.config import Config, load_config

NOT_HERE = "no study here: neither this folder nor one above has a kdbatch.toml"


def kdbatch(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "kdbatch", *words],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=60,
    )


def files_below(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*"))


@pytest.fixture
def below(sharded, in_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, two below that of a study with shards and settings."""
    sharded(k400=240_000, ucf101=13_320, hmdb51=6766)
    (in_tmp / "kdbatch.toml").write_text(
        '[paths]\nruns = "results"\n[datasets.ssv2]\nroot = "videos/ssv2"\n[container]\n'
        'image = "images/kdbatch.sif"\nruntime = "bin/apptainer"\n'
        'binds = ["data:/data:ro", "/scratch", "$TMPDIR"]\n'
    )
    folder = in_tmp / "notes" / "today"
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)
    return folder


def test_the_file_is_found_from_folders_below_and_its_paths_are_relative_to_it(below: Path) -> None:
    config, study = load_config(), below.parents[1]
    assert find_study() == Path("../..")
    assert config.runs_dir.resolve() == study / "results"
    assert config.shards_dir.resolve() == study / "shards"
    assert config.report_dir.resolve() == study / "report"
    assert Path(config.datasets["ssv2"].root).resolve() == study / "videos" / "ssv2"
    container = config.container
    assert Path(container.image).resolve() == study / "images" / "kdbatch.sif"
    assert Path(container.runtime).resolve() == study / "bin" / "apptainer"
    assert container.binds == ("../../data:/data:ro", "/scratch", "$TMPDIR")


def test_a_tilde_in_a_root_is_the_home_folder(
    in_tmp: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = in_tmp / "home"
    video = home / "k400" / "train" / "archery" / "abcdefghijk_000000_000010.mp4"
    video.parent.mkdir(parents=True)
    video.write_bytes(b"x")
    monkeypatch.setenv("HOME", str(home))
    typed = kdbatch("shard", "k400", "--root=~/k400", "--dry-run", cwd=in_tmp)
    assert "1 of 1 shards for 1 videos" in typed.stdout, typed.stderr
    (in_tmp / "kdbatch.toml").write_text(
        '[datasets.k400]\nroot = "~/k400"\n[paths]\nshards = "~/shards"\n'
    )
    written = kdbatch("shard", "k400", "--dry-run", cwd=in_tmp)
    assert written.stdout == typed.stdout
    assert load_config().shards_dir == home / "shards"
    assert load_config(Path("kdbatch.toml")).datasets["k400"].root == str(home / "k400")


def test_a_command_of_the_search_path_stays_one(in_tmp: Path) -> None:
    (in_tmp / "kdbatch.toml").write_text("")
    (in_tmp / "x").mkdir()
    os.chdir("x")
    assert load_config().container.runtime == Config().container.runtime == "apptainer"


def test_the_nearest_file_counts_and_without_one_this_folder_is_the_study(
    below: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (below / "kdbatch.toml").write_text("")
    images = str(Path(Config().paths.images).expanduser())
    paths = dataclasses.replace(Config().paths, images=images)
    defaults = dataclasses.replace(Config(), paths=paths)
    assert find_study() == Path() and load_config() == defaults
    (below / "kdbatch.toml").unlink()
    (below.parents[1] / "kdbatch.toml").unlink()
    assert find_study() == Path() and load_config() == Config()


def test_a_file_of_another_user_counts_only_in_its_own_folder(
    below: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = (below.parents[1] / "kdbatch.toml").stat().st_uid
    if not owner:
        os.chown(below.parents[1] / "kdbatch.toml", 12345, -1)
    monkeypatch.setattr(os, "getuid", lambda: owner + 1)
    with pytest.raises(UserError, match=rf"another user.* cd {below.parents[1]}"):
        load_config()
    monkeypatch.chdir(below.parents[1])
    assert load_config().runs_dir == Path("results")


def test_a_link_that_another_user_made_to_a_file_of_ours_is_his(
    below: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = below.parents[1] / "kdbatch.toml"
    path.rename(below / "mine")
    path.symlink_to(below / "mine")
    lstat = Path.lstat

    def of_another(self: Path) -> os.stat_result:
        found = list(lstat(self))
        found[4] += self == path
        return os.stat_result(found)

    monkeypatch.setattr(Path, "lstat", of_another)
    with pytest.raises(UserError, match="another user"):
        load_config()


def test_a_folder_that_was_deleted_is_one_line(in_tmp: Path) -> None:
    (in_tmp / "gone").mkdir()
    os.chdir("gone")
    (in_tmp / "gone").rmdir()
    with pytest.raises(UserError, match="the current folder was deleted"):
        load_config()


def test_commands_work_from_below_and_name_the_folder_of_the_study(below: Path) -> None:
    study = below.parents[1]
    config = config_in(study)
    write_runs(plan_of({"a": ()}), config=config)
    config.runs_dir.rename(study / "results")
    done = kdbatch("status", cwd=below)
    assert done.returncode == 0 and "planned" in done.stdout, done
    assert done.stderr == f"kdbatch: the study is in {study}/, which has the kdbatch.toml\n"
    done = kdbatch("status", cwd=study)
    assert done.returncode == 0 and "planned" in done.stdout and done.stderr == ""
    assert files_below(below) == []


def test_files_that_are_typed_are_relative_to_the_current_folder(below: Path) -> None:
    (below.parents[1] / "jobs").mkdir()
    experiment = below.parents[1] / "jobs" / "subset_size.yaml"
    experiment.write_text((JOBS / "subset_size.yaml").read_text())
    done = kdbatch("plan", "jobs/subset_size.yaml", cwd=below)
    assert done.returncode == 2
    assert "jobs/subset_size.yaml: there is no such file" in done.stderr
    assert "The experiment is ../../jobs/subset_size.yaml" in done.stderr
    done = kdbatch("plan", "../../jobs/subset_size.yaml", cwd=below)
    assert done.returncode == 0, done
    assert files_below(below) == []


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (("status",), 0, NOT_HERE),
        (("status", "--json"), 0, NOT_HERE),
        (("status", "--watch"), 0, NOT_HERE),
        (("cancel", "--all"), 1, NOT_HERE),
        (("cancel", "jobs/subset_size.yaml"), 1, NOT_HERE),
        (("cancel", "r12"), 1, NOT_HERE),
        (("logs", "r12"), 2, NOT_HERE),
        (("report",), 2, NOT_HERE),
        (("export", "r12"), 2, NOT_HERE),
        (("plan", "jobs/subset_size.yaml"), 2, "there is no such file"),
        (("submit", "jobs/subset_size.yaml", "--dry-run"), 2, "there is no such file"),
        (("shard", "verify", "k400"), 2, "has no shards"),
        (("doctor",), None, "runs: "),
    ],
)
def test_in_an_empty_folder_commands_name_a_remedy_and_create_nothing(
    tmp_path: Path, words: tuple[str, ...], code: int | None, says: str
) -> None:
    done = kdbatch(*words, cwd=tmp_path)
    assert code in (None, done.returncode) and says in done.stdout + done.stderr, done
    if says != "has no shards" and words != ("doctor",):
        assert "kdbatch init" in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert files_below(tmp_path) == []


def test_cancel_that_finds_no_job_says_why_and_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "kdbatch.toml").write_text("")
    done = kdbatch("cancel", "--all", cwd=tmp_path)
    assert done.returncode == 1 and "runs/ does not exist: nothing was submitted" in done.stderr
    write_runs(plan_of({"a": ()}), config=config_in(tmp_path))
    before = files_below(tmp_path)
    done = kdbatch("cancel", "--all", cwd=tmp_path)
    assert done.returncode == 1
    assert "nothing was cancelled: SLURM's queue has no job of 1 run: 1 planned" in done.stderr
    for name, says in (
        ("r0", "no run ID in runs/ starts with"),
        ("x.yaml", "nothing of x.yaml was"),
    ):
        done = kdbatch("cancel", name, cwd=tmp_path)
        assert done.returncode == 1 and says in done.stderr, done
    assert files_below(tmp_path) == before


def test_init_writes_settings_and_jobs_and_keeps_what_is_there(tmp_path: Path) -> None:
    assert kdbatch("init", cwd=tmp_path).returncode == 0
    for path in JOBS.rglob("*.yaml"):
        assert (tmp_path / "jobs" / path.relative_to(JOBS)).read_bytes() == path.read_bytes()
    (tmp_path / "kdbatch.toml").write_text("# mine\n")
    mine = tmp_path / "jobs" / "profiles" / "toy.yaml"
    mine.write_text("# mine too\n")
    (tmp_path / "jobs" / "subset_size.yaml").unlink()
    done = kdbatch("init", cwd=tmp_path)
    assert done.returncode == 0, done
    assert "kdbatch.toml is there already, and is kept" in done.stdout
    assert "kept, though this version of kdbatch brings others: jobs/profiles/toy.yaml\n" in (
        done.stdout
    )
    assert "1 written" in done.stdout and (tmp_path / "jobs" / "subset_size.yaml").exists()
    assert (mine.read_text(), (tmp_path / "kdbatch.toml").read_text()) == (
        "# mine too\n",
        "# mine\n",
    )


def test_init_below_a_study_starts_another_one_and_says_it(tmp_path: Path) -> None:
    (tmp_path / "kdbatch.toml").write_text("")
    (tmp_path / "other").mkdir()
    done = kdbatch("init", cwd=tmp_path / "other")
    assert "becomes a study of its own" in done.stderr
    assert (tmp_path / "other" / "kdbatch.toml").exists()
    assert kdbatch("status", cwd=tmp_path / "other").stderr == ""
