"""Mistakes in job files and profiles: `kdbatch plan` finds each, in one line, in a second."""

import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest
from support.inputs import JOBS
from support.speed import in_starts

from kdbatch.cli.command import dispatch
from kdbatch.cli.commands import Commands
from kdbatch.plan.experiment_file import ExperimentFile
from kdbatch.plan.specs import PretrainSpec, StudentSpec, TeacherSpec

FILE = "jobs/subset_size.yaml"
PROFILE = "jobs/profiles/micro.yaml"


def _fields(described: type) -> str:
    return f"Fields: {', '.join(field.name for field in fields(described))}."


TEACHER, STUDENT, FIELDS = map(_fields, (TeacherSpec, StudentSpec, ExperimentFile))
SLIPS = [
    (
        "    control: true",
        '    control: "true"',
        ": claims[5].control: expected true or false, found the text 'true'. Write it without "
        "quotes: true.",
    ),
    (
        "backbone: r21d_10",
        "backbon: r21d_10",
        f": teachers.T2 has no field 'backbon'. Did you mean 'backbone'? {TEACHER}",
    ),
    (
        "complexity: 1",
        'complexity: "1"',
        ": teachers.T1.pretrain.complexity: expected a whole number, found the text '1'. Write it "
        "without quotes: 1.",
    ),
    (
        "complexity: 1",
        "epochs: 9, complexity: 1",
        f": teachers.T1.pretrain has no field 'epochs'. {_fields(PretrainSpec)}",
    ),
    (
        "weighting: ae-kd",
        "weighting: ae-kd\n  temperature: 0",
        ": student.temperature: found 0. Write 0.001 to 1,000; 4 is usual.",
    ),
    (
        "weighting: ae-kd",
        "weighting: ae-kd\n  temperature: hot",
        ": student.temperature: expected a number, found the text 'hot'.",
    ),
    (
        "weighting: ae-kd",
        "weighting: ae-kd\n  soft_weight: -1",
        ": student.soft_weight: found -1. Write 0 to 1,000,000.",
    ),
    (
        "weighting: ae-kd",
        "weighting: ae-kd\n  max_teacher_weight: 2",
        ": student.max_teacher_weight: found 2. Write 0.001 to 1.",
    ),
    (
        "weighting: ae-kd",
        "weighting: ae-kd\n  seed: 3",
        f": student has no field 'seed'. {STUDENT}",
    ),
    (
        "teachers: [T1, T2]",
        "teachers: T1, T2",
        ": student.teachers: expected a list, found 'T1, T2'. Write it in brackets: "
        '["T1", "T2"].',
    ),
    (
        "title: T1 ShuffleNet",
        "title: yes",
        ": teachers.T1.title: expected a text, found true. YAML reads yes, no, on, off, true and "
        "false as true or false: write the word in quotes.",
    ),
    (
        "title: T1 ShuffleNet",
        "title: 2024-01-01",
        ': teachers.T1.title: expected a text, found 2024-01-01. Write it in quotes: "2024-01-01".',
    ),
    (
        "title: T1 ShuffleNet",
        "title:",
        ": teachers.T1.title: expected a text, found nothing. Write a value, or delete the line.",
    ),
    (
        "title: T1 ShuffleNet",
        "title: T1 at $subset",
        ": teachers.T1.title: found 'T1 at $subset', but a $name is only replaced where it is the "
        "whole value. Leave $subset out, or write it alone.",
    ),
    (
        "title: T1 ShuffleNet",
        "title: T2 R(2+1)D",
        ": T2 has the title of T1, 'T2 R(2+1)D', and tables could not tell them apart. Write "
        "another title: for T2.",
    ),
    (
        "{title: Labels only, teachers: []}",
        "{teachers: []}",
        ": labels_only has the title of student, 'Student ShuffleNet', and tables could not tell "
        "them apart. Write another title: for labels_only.",
    ),
    (
        "subset: [10k, 30k, 50k, 100k]",
        "subset: [10k, 30k, 10k]",
        ": vary.subset: 10k is given twice. Name each value once.",
    ),
    (
        "subset: [10k, 30k, 50k, 100k]",
        "subset: 10k",
        ": vary.subset: expected a list of texts or numbers, or named cases, found '10k'. Write "
        "subset: [10k].",
    ),
    (
        "subset: [10k, 30k, 50k, 100k]",
        "subset: []",
        ": vary.subset: expected a list of texts or numbers, or named cases, found []. Write "
        "subset: [VALUE, VALUE].",
    ),
    (
        "subset: $subset}",
        "subset: ${subset}}",
        ":22: found ${subset}. Write the name without braces: $subset",
    ),
    (
        "subset: $subset}",
        "subset: 5o0}",
        ": T1.pretrain: k400/train: '5o0' is not a valid subset. Use a count (2000, 50k), a share "
        "(10%) or all.",
    ),
    (
        "rows: [T1, T2, student,",
        "rows: [T1, T2, Student,",
        ": tables.table1.rows: no 'Student'. Did you mean 'student'? Known: T1, T2, student, "
        "labels_only, from_T1, from_T2, equal.",
    ),
    (
        "    at: {subset: 10k}",
        "    at: {size: 10k}",
        ": claims.less_data_suffices.at: no 'size'. Known: target, subset.",
    ),
    (
        "at: {target: ucf101, subset: 30k}",
        "at: {target: ucf101}",
        ": maps.cka_r21d_teacher.at: the axis 'subset' is missing. A map is drawn for one case: "
        "write subset: and one of 8, 16.",
    ),
    ("student:\n", "students:\n", f" has no field 'students'. Did you mean 'student'? {FIELDS}"),
    (
        "teachers:\n  T1:",
        "teachers:\n  1:",
        ': teachers: expected a text, found 1. Write it in quotes: "1".',
    ),
    (
        "title: Pretraining subsets of different size\n",
        "",
        f" needs the field 'title'. {FIELDS}",
    ),
    (
        "  target: [ucf101, hmdb51]\n",
        "  target: [ucf101, hmdb51]\n  temperature: [1, 4]\n",
        ": tables.table1.columns: a column needs every axis once. Write columns: [target, "
        "temperature, subset].",
    ),
]
PROFILE_SLIPS = [
    ("seeds: [0]", "seeds: 0", "seeds: expected a list, found 0. Write it in brackets: [0]."),
    ("seeds: [0]", "seeds: [-1]", "seeds[0]: found -1. Write 0 to 4,294,967,295."),
    ("dropout: 0.1", "dropout: 10", "dropout: found 10. Write at least 0 and less than 1."),
    ("num_frames: 8", "num_frames: -8", "clip.num_frames: found -8. Write 1 to 10,000."),
    ("fps: 24.0", "fps: 0", "clip.fps: found 0. Write 0.01 to 1,000; 24 to 30 is usual."),
    (
        "pretrain: {epochs: 2",
        "pretrain: {epochs: 0",
        "pretrain.epochs: found 0. Write 1 to 100,000.",
    ),
    (
        "widths: {r21d_10: 0.0625",
        "widths: {r21d_10: 0",
        "widths.r21d_10: found 0. Write 0.005 to 32; 1 is usual.",
    ),
]
PLAN = ["plan", FILE, "--profile", "micro"]


@pytest.fixture
def study(sharded, in_tmp: Path) -> Path:
    """A folder with one experiment, one profile, and indexes of shards."""
    sharded(k400=240_000, ucf101=13_320, hmdb51=6766)
    (in_tmp / "jobs" / "profiles").mkdir(parents=True)
    for name in ("subset_size.yaml", "profiles/micro.yaml"):
        (in_tmp / "jobs" / name).write_text((JOBS / name).read_text())
    return in_tmp


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


@pytest.mark.parametrize(("old", "new", "message"), SLIPS)
def test_a_slip_in_an_experiment_is_one_line(
    study: Path, capsys: pytest.CaptureFixture[str], old: str, new: str, message: str
) -> None:
    edit(study / FILE, old, new)
    assert dispatch(Commands(), PLAN) == 2
    out, err = capsys.readouterr()  # a description of the field may follow
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith(f"kdbatch: {FILE}{message}")


@pytest.mark.parametrize(("old", "new", "message"), PROFILE_SLIPS)
def test_a_slip_in_a_profile_is_one_line(
    study: Path, capsys: pytest.CaptureFixture[str], old: str, new: str, message: str
) -> None:
    edit(study / PROFILE, old, new)
    assert dispatch(Commands(), PLAN) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith(f"kdbatch: {PROFILE}: {message}")


def test_an_axis_that_nothing_uses_is_an_error(
    study: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    edit(study / FILE, "  subset: [10k, ", "  temperature: [1, 4]\n  subset: [10k, ")
    edit(study / FILE, "columns: [target", "columns: [temperature, target")
    text = (study / FILE).read_text()
    text = text.replace("subset: 30k}", "subset: 30k, temperature: 4}")
    (study / FILE).write_text(text)
    assert dispatch(Commands(), PLAN) == 2
    assert capsys.readouterr().err == (
        f"kdbatch: {FILE}: vary.temperature: no teacher, reference, student or control has "
        "$temperature, so its values would be the same runs. Write $temperature as the value of "
        "the field that it varies, or remove temperature from vary, tables, maps and claims.\n"
    )
    # With the $name in its place, the same file is a study of three temperatures.
    edit(study / FILE, "  weighting: ae-kd", "  weighting: ae-kd\n  temperature: $temperature")
    assert dispatch(Commands(), PLAN) == 0


def test_a_field_of_a_named_case_that_nothing_uses_is_an_error(
    study: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    edit(study / FILE, "target: [ucf101, hmdb51]", "target: {ucf101: {temprature: 2}}")
    edit(study / FILE, "  weighting: ae-kd", "  weighting: ae-kd\n  temperature: 2")
    assert dispatch(Commands(), PLAN) == 2
    assert capsys.readouterr().err == (
        f"kdbatch: {FILE}: vary.target.ucf101.temprature: no teacher, reference, student or "
        "control has $temprature. Write it as the value of the field that it varies, or leave "
        "temprature out.\n"
    )


def test_a_profile_in_the_place_of_an_experiment_is_named(
    study: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (study / "jobs" / "fast.yaml").write_text((study / PROFILE).read_text())
    assert dispatch(Commands(), ["plan", "jobs/fast.yaml", "--profile", "micro"]) == 2
    assert capsys.readouterr().err == (
        "kdbatch: jobs/fast.yaml: is a profile, not an experiment. Move it into the folder "
        "profiles/ next to the experiments, and name it with --profile fast.\n"
    )


def test_a_mistake_is_found_in_a_second(study: Path) -> None:
    edit(study / FILE, "backbone: r21d_10", "backbon: r21d_10")

    def plan() -> None:
        done = subprocess.run(
            [sys.executable, "-m", "kdbatch", *PLAN], capture_output=True, text=True
        )
        assert done.returncode == 2 and "Did you mean 'backbone'" in done.stderr

    assert in_starts(plan, looks=2) < 10.0  # some 6, which is 1.1 s
