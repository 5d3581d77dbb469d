"""Folders that commands write to: not the study's own, and not over a file of another origin."""

import dataclasses
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from support.studies import WriteStudy

from kdbatch.base.atomic_write import load_json, write_json, write_text
from kdbatch.base.errors import UserError
from kdbatch.cli.command import dispatch
from kdbatch.cli.commands import Commands
from kdbatch.report.build import build_report
from kdbatch.vocab.runs.folder import RunFolder

Type = Callable[..., str]


@pytest.fixture
def type_line(
    write_study: WriteStudy, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Type:
    """Type a command that must end with exit code 2, in the folder of a study; the error line."""
    _, runs_dir = write_study(num_videos=20)
    folder = runs_dir.parent
    for name in ("jobs", "shards", "videos"):
        (folder / name).mkdir()
    (folder / "kdbatch.toml").write_text(
        f'paths.runs = "{runs_dir.name}"\n'
        'datasets.k400.root = "videos"\ndatasets.ssv2.root = ".."\n'
    )
    monkeypatch.chdir(folder)
    (folder / "link").symlink_to(runs_dir)

    def type_line(*words: str) -> str:
        before = sorted(folder.rglob("*"))
        assert dispatch(Commands(), words) == 2
        assert sorted(folder.rglob("*")) == before
        error = capsys.readouterr().err.strip()
        assert error.count("\n") == 0
        return error

    return type_line


OWN = ("runs", "runs/plans", "shards/k400", "jobs", "videos/new", "./jobs/../runs/x", "link/a")


def test_a_folder_of_the_study_itself_is_refused(type_line: Type) -> None:
    runs = next(path.parent.name for path in Path().glob("*/plans"))
    run = next(path.parent.name for path in Path(runs).glob("r*/run.json"))
    for target in (name.replace("runs", runs) for name in OWN):
        for words in (
            ("report", "--to", target),
            ("export", run, "--to", target),
            ("sync", "tensorboard", target),
            ("sync", "mlflow", target),
            ("toy", target),
        ):
            line = type_line(*words)
            assert f"{Path(target)}: " in line and "Name another folder: " in line


def test_a_folder_that_is_a_link_in_a_circle_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("kdbatch.toml").touch()
    Path("runs").symlink_to("runs")
    assert dispatch(Commands(), ("report",)) == 2
    error = capsys.readouterr().err.strip()
    assert re.fullmatch(r"kdbatch: runs\S*: .*Too many levels of symbolic links.*", error)


@pytest.mark.parametrize("name", ["index.html", "report.json", "tables", "figures"])
def test_a_report_replaces_no_file_of_another_origin(
    write_study: WriteStudy, tmp_path: Path, name: str
) -> None:
    _, runs_dir = write_study(num_videos=20)
    site = tmp_path / "site"
    site.mkdir()
    (site / "notes.txt").write_text("mine")
    build_report(runs_dir, to=site)  # a folder that has other files may be used
    build_report(runs_dir, to=site)
    shutil.rmtree(site)
    site.mkdir()
    (site / name).write_text("<title>My page</title>")
    with pytest.raises(UserError, match=f"site/{name}: is not part of a report of kdbatch"):
        build_report(runs_dir, to=site)
    assert (site / name).read_text() == "<title>My page</title>" and len(list(site.iterdir())) == 1


def test_parts_of_killed_processes_are_deleted_by_the_next_that_writes_there(
    tmp_path: Path,
) -> None:
    host, dead = os.uname().nodename, 4_000_000  # above the largest number of a process
    names = {
        f"a.pdf.{host}.{dead}.part": False,
        f"a.pdf.{host}.{os.getppid()}.part": True,
        f"a.pdf.other.{dead}.part": True,
        "thesis.pdf.part": True,
        "7.part": True,
    }
    for name in names:
        (tmp_path / name).touch()
    if os.geteuid() == 0:
        theirs = tmp_path / f"b.pdf.{host}.{dead}.part"
        theirs.touch()
        os.chown(theirs, 12345, 12345)
        names[theirs.name] = True
    write_text(tmp_path / "c.txt", "x")
    assert {name: (tmp_path / name).exists() for name in names} == names


@pytest.mark.parametrize("name", ["../profiles/micro", "/etc/x", "..", "a/b", "micro.yaml", "."])
def test_a_profile_is_a_name_and_no_path(type_line: Type, name: str) -> None:
    Path("jobs/a.yaml").write_text("name: a\n")
    assert f"--profile {name}: " in type_line("plan", "jobs/a.yaml", f"--profile={name}")


def test_names_from_files_cannot_lead_out_of_their_folder(write_study: WriteStudy) -> None:
    record, runs_dir = write_study(num_videos=20)
    run = next(path.parent for path in runs_dir.glob("r*/run.json"))
    whole = load_json(run / "run.json")
    for name in ("../x", "/etc", "..", "", "a/b", "a\0"):
        whole["run"]["parents"] = [name]
        write_json(run / "run.json", whole)
        with pytest.raises(UserError, match="no name of a file or folder"):
            RunFolder(run).load()
        for changed in ({"experiment": name}, {"profile": name}):
            with pytest.raises(UserError, match="no name of a file or folder"):
                dataclasses.replace(record, **changed)
        with pytest.raises(UserError, match="no name of a file or folder"):
            dataclasses.replace(record.cells[0], run_id=name)
