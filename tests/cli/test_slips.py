"""Mistakes as users type them: each is answered with where, what was found, and what to type."""

from pathlib import Path

import pytest
from support.inputs import JOBS

from kdbatch.cli.command import dispatch
from kdbatch.cli.commands import Commands

FLAGS = "Flags: --profile, --local, --jobs, --retry-failed, --dry-run, --wait."
ALL = "jobs/one.yaml jobs/subset_size.yaml"
NO_FILE = "there is no such file."
VALID = "Use a count (2000, 50k), a share (10%) or all."
DATA_SETS = "Known: k400, ssv2, ucf101, hmdb51."
SLIPS = {
    # A profile without --profile, or as an experiment.
    "submit jobs/one.yaml micro": (
        "micro: is a profile, not an experiment. "
        "Write: kdbatch submit jobs/one.yaml --profile micro"
    ),
    "submit jobs/one.yaml jobs/subset_size.yaml toy --local --jobs 2 --retry-failed --dry-run": (
        f"toy: is a profile, not an experiment. Write: kdbatch submit {ALL} --profile toy "
        "--local --jobs 2 --retry-failed --dry-run"
    ),
    "plan jobs/one.yaml micro --json": (
        "micro: is a profile, not an experiment. "
        "Write: kdbatch plan jobs/one.yaml --profile micro --json"
    ),
    "submit jobs/profiles/micro.yaml jobs/one.yaml": (
        "jobs/profiles/micro.yaml: is a profile, not an experiment. "
        "Write: kdbatch submit jobs/one.yaml --profile micro"
    ),
    "submit micro": (
        "micro: is a profile, not an experiment. "
        "Write: kdbatch submit jobs/one.yaml --profile micro"
    ),
    "plan jobs/one.yaml --profile jobs/profiles/micro.yaml": (
        "--profile jobs/profiles/micro.yaml: a profile is named without its folder and ending. "
        "Write --profile micro."
    ),
    "submit jobs/one.yaml --profile=": (
        "--profile: is empty. Write a value, as in --profile=VALUE."
    ),
    # Experiments that are not there.
    "submit subset_size --profile micro": (
        f"subset_size: {NO_FILE} The experiment is jobs/subset_size.yaml. "
        "Write: kdbatch submit jobs/subset_size.yaml --profile micro"
    ),
    "plan subset_size.yaml --profile micro": (
        f"subset_size.yaml: {NO_FILE} The experiment is jobs/subset_size.yaml. "
        "Write: kdbatch plan jobs/subset_size.yaml --profile micro"
    ),
    "submit jobs/subset-size.yaml --local": (
        f"jobs/subset-size.yaml: {NO_FILE} Did you mean jobs/subset_size.yaml? "
        "Write: kdbatch submit jobs/subset_size.yaml --profile paper --local"
    ),
    "submit jobs --profile micro": (
        f"jobs: is a folder. Name its experiments: kdbatch submit {ALL} --profile micro"
    ),
    "submit empty": "empty: is a folder, and has no experiments. Name a .yaml file.",
    "submit jobs/*.yaml --profile micro": (
        "jobs/*.yaml: the quotes keep the shell from listing the files. Leave them out, or write: "
        f"kdbatch submit {ALL} --profile micro"
    ),
    "submit none/*.yaml": (
        "none/*.yaml: no file matches this pattern. Name the experiments one by one."
    ),
    "submit README.md": "README.md: is no experiment: these are .yaml files, as those in jobs/.",
    "submit jobs/one.yaml jobs/one.yaml": (
        "jobs/one.yaml: is named twice. Write: kdbatch submit jobs/one.yaml --profile paper"
    ),
    "submit jobs/one.yaml other/one.yaml": (
        "other/one.yaml: has the name of jobs/one.yaml, and the plan of one would replace that of "
        "the other. Rename one, with its field name."
    ),
    "jobs/one.yaml --local": (
        "jobs/one.yaml: name a command first: kdbatch plan jobs/one.yaml or "
        "kdbatch submit jobs/one.yaml --local"
    ),
    # Flags.
    "submit jobs/one.yaml -l": f"submit: no flag -l. Did you mean '--local'? {FLAGS}",
    "submit jobs/one.yaml -d": f"submit: no flag -d. Did you mean '--dry-run'? {FLAGS}",
    "submit jobs/one.yaml -profile micro": (
        f"submit: no flag -profile. Did you mean '--profile'? {FLAGS}"
    ),
    "submit jobs/one.yaml \u2014profile micro": (
        f"submit: no flag \u2014profile. Did you mean '--profile'? {FLAGS}"
    ),
    "submit jobs/one.yaml profile=micro": (
        "submit: found profile=micro. Did you mean --profile=micro?"
    ),
    "submit jobs/one.yaml --jobs 0": (
        "--jobs: found 0. Write 1 to 10,000, or leave it out for one per GPU, or per core."
    ),
    "submit jobs/one.yaml --jobs=-2": (
        "--jobs: found -2. Write 1 to 10,000, or leave it out for one per GPU, or per core."
    ),
    "shard k400 --processes 0": (
        "--processes: found 0. Write 1 to 10,000, or leave it out for one per core."
    ),
    "shard k400 --max-rejected 5%": "--max-rejected: found '5%', expected a number. Write 0.05.",
    # Subsets: before the folder of the videos, and never suggested again.
    "shard k400 --subset=-5": f"k400: --subset: '-5' is not a valid subset. {VALID}",
    "shard k400 --subset -5": f"k400: --subset: '-5' is not a valid subset. {VALID}",
    "shard k400 --videos-per-shard 0": (
        "--videos-per-shard: found 0. Write 1 to 1,000,000; 250 is usual."
    ),
    "shard k400 --max-rejected nan": "--max-rejected: found nan. Write 0 to 1.",
    "shard k400 --max-rejected 1.5": "--max-rejected: found 1.5. Write 0 to 1.",
    "toy toys --seed -1": "--seed: found -1. Write 0 to 4,294,967,295.",
    "submit jobs/one.yaml --jobs 1e300": "--jobs: found '1e300', expected a whole number.",
    "submit jobs/one.yaml --jobs 99999999999999999999": (
        "--jobs: found 99999999999999999999. Write 1 to 10,000, or leave it out for one per GPU, "
        "or per core."
    ),
    "bench step --seconds inf": "--seconds: found inf. Write 0.001 to 86,400, as in --seconds=2.",
    "bench step --frames 1": "--frames: found 1. Write 2 to 10,000.",
    "bench cka --clips 3": "--clips: found 3. Write 4 to 100,000.",
    "bench cka --layers \u00b2": (
        "--layers: found '\u00b2'. Write res, act, all, or a number of layers from 3 on, as in "
        "--layers=24."
    ),
    "logs r1 --lines -1": "--lines: found -1. Write 0 to 1,000,000,000; 0 is all of them.",
    "shard k400 --subset 5o0": f"k400: --subset: '5o0' is not a valid subset. {VALID}",
    "shard k400 --subset 50.000": f"k400: --subset: '50.000' is not a valid subset. {VALID}",
    "shard k400 --subset 150%": f"k400: --subset: '150%' is not a valid subset. {VALID}",
    "shard K400": (
        f"shard: no 'K400'. Did you mean 'k400'? {DATA_SETS} One of your own is declared in "
        "kdbatch.toml, under [datasets.NAME] with root and layout."
    ),
    "shard k400 --root nowhere": (
        "nowhere: there is no such folder. Name the folder of the data set with --root, or as root "
        "under [datasets] in kdbatch.toml."
    ),
    # Arguments.
    "shard k400 ucf101": (
        "shard takes 1 argument, found also 'ucf101'. Type: kdbatch shard --help"
    ),
    "report r52b": "report takes no arguments, found 'r52b'. Type: kdbatch report --help",
    "bench": "bench needs a second word: data, step, cka.",
    "run jobs/one.yaml": (
        "jobs/one.yaml: is no run folder, because it has no run.json. Run folders are runs/ID; the "
        "ids are in: kdbatch status"
    ),
}


@pytest.fixture
def study(sharded, in_tmp: Path) -> Path:
    """A folder with two experiments, the profiles, and indexes of shards."""
    sharded(k400=240_000, ucf101=13_320, hmdb51=6766)
    (in_tmp / "jobs" / "profiles").mkdir(parents=True)
    for name in ("micro", "toy"):
        text = (JOBS / "profiles" / f"{name}.yaml").read_text()
        (in_tmp / "jobs" / "profiles" / f"{name}.yaml").write_text(text)
    text = (JOBS / "subset_size.yaml").read_text()
    (in_tmp / "jobs" / "subset_size.yaml").write_text(text)
    for folder in ("jobs", "other", "empty"):
        (in_tmp / folder).mkdir(exist_ok=True)
    for folder in ("jobs", "other"):
        text = text.replace("name: subset_size", "name: one")
        (in_tmp / folder / "one.yaml").write_text(text)
    (in_tmp / "kdbatch.toml").touch()
    (in_tmp / "README.md").touch()
    return in_tmp


@pytest.mark.parametrize("line", SLIPS)
def test_a_slip_is_answered_with_what_to_type_and_nothing_is_written(
    study: Path, capsys: pytest.CaptureFixture[str], line: str
) -> None:
    before = sorted(study.rglob("*"))
    assert dispatch(Commands(), line.split()) == 2
    out, err = capsys.readouterr()
    assert (out, err) == ("", f"kdbatch: {SLIPS[line]}\n")
    assert sorted(study.rglob("*")) == before


def test_the_suggested_command_is_accepted(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert dispatch(Commands(), ["plan", "one", "--profile", "micro"]) == 2
    suggested = capsys.readouterr().err.strip().partition("Write: kdbatch ")[2]
    assert dispatch(Commands(), suggested.split()) == 0


def test_p_is_short_for_profile(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    outputs = []
    for flag in ("-p", "--profile"):
        assert dispatch(Commands(), ["plan", "jobs/one.yaml", flag, "micro"]) == 0
        outputs.append(capsys.readouterr().out)
    assert outputs[0] == outputs[1]
    assert dispatch(Commands(), ["plan", "--help"]) == 0
    assert "  -p, --profile=WORD" in capsys.readouterr().out


def test_a_plan_says_that_its_image_is_missing(
    study: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (study / "kdbatch.toml").write_text('[container]\nimage = "/nope/x.sif"\n')
    assert dispatch(Commands(), ["plan", "jobs/one.yaml", "--profile", "micro"]) == 0
    out, err = capsys.readouterr()
    assert "there is no /nope/x.sif. Make one: make image" in err and "runs" in out


@pytest.mark.parametrize("command", ["doctor", "plan jobs/one.yaml", "submit jobs/one.yaml"])
def test_every_command_refuses_an_unknown_data_set_in_kdbatch_toml(
    study: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    (study / "kdbatch.toml").write_text('[datasets.gestures]\nroot = "/a"\n')
    assert dispatch(Commands(), command.split()) == 2
    assert capsys.readouterr().err == (
        "kdbatch: kdbatch.toml: datasets.gestures: there is no published data set 'gestures'. "
        'Published: k400, ssv2, ucf101, hmdb51. One of your own needs layout = "folders" or '
        '"table".\n'
    )
