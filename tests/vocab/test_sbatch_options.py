"""Options of sbatch in kdbatch.toml: which are refused, and whose count for a kind of run."""

from pathlib import Path

import pytest

from kdbatch.base.errors import UserError
from kdbatch.vocab.config import Config, Site, load_config
from kdbatch.vocab.jobs.resources import Resources
from kdbatch.vocab.jobs.sbatch_options import OptionValue, SbatchOptions

TOML = """
[site]
partition = "gpu"
constraint = "h200"
account = "lab"
sbatch = {mail-type = "END", reservation = "x", exclusive = true}

[resources.shard]
partition = "cpu"
constraint = ""
sbatch = {reservation = false, nice = 100}
"""


def test_a_kind_of_run_has_its_own_options_over_those_of_the_site(tmp_path: Path) -> None:
    path = tmp_path / "kdbatch.toml"
    path.write_text(TOML)
    config = load_config(path)
    assert config.resources_of("shard").gpus == 0
    assert config.resources_of("shard").over(config.site).flags == {
        "partition": "cpu",
        "account": "lab",
        "mail-type": "END",
        "exclusive": True,
        "nice": 100,
    }
    assert config.resources_of("pretrain").over(config.site).flags == {
        "partition": "gpu",
        "constraint": "h200",
        "account": "lab",
        "mail-type": "END",
        "reservation": "x",
        "exclusive": True,
    }


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("time", 60, r"kdbatch sets --time itself\. Write minutes = \.\.\. under \[resources.KIND"),
        ("partition", "gpu", r"Write partition = \.\.\. in the same table\."),
        ("mem-per-cpu", "4G", r"Write memory_gb = "),
        ("array", "0-3", r"Write max_concurrent = "),
        ("requeue", True, r"kdbatch needs --requeue for itself\. Leave it out\."),
        ("wrap", "id", r"--wrap changes what sbatch does, and no job\."),
        ("p", "gpu", r"'p' is no long name of an option, such as mail-type\."),
        ("mail_type", "END", r"'mail_type' is no long name"),
        ("comment\n", "x", r"is no long name"),
        ("gres", "nvme:1,gpu:h200:2", r"Write gpus = "),
        ("comment", "a\n#SBATCH --uid=0", r"a line feed or another control character for sbatch"),
        ("comment", "--uid=0", r"which is an option for sbatch"),
        ("comment", "", r"is empty\. Write true for an option without a value\."),
    ],
)
def test_an_option_that_sbatch_would_not_get_is_refused(
    name: str, value: OptionValue, message: str
) -> None:
    for cls in (Site, Resources):
        with pytest.raises(UserError, match=rf"^sbatch(\.{name})?: .*{message}"):
            cls(sbatch={name: value})


def test_a_list_is_no_value_of_an_option(tmp_path: Path) -> None:
    path = tmp_path / "kdbatch.toml"
    path.write_text("[resources.pretrain]\nsbatch = {comment = ['a']}")
    expected = r"comment: expected a text or true or false or a whole number, found \['a'\]"
    with pytest.raises(UserError, match=expected):
        load_config(path)


def test_an_error_names_the_table_of_the_option(tmp_path: Path) -> None:
    path = tmp_path / "kdbatch.toml"
    path.write_text("[resources.pretrain]\nsbatch = {nodes = 2}")
    with pytest.raises(UserError, match=r"resources\.pretrain\.sbatch\.nodes: "):
        load_config(path)


@pytest.mark.parametrize(
    ("line", "field"),
    [
        ("#SBATCH --mail-type=END", 'sbatch = {mail-type = "END"}'),
        ("  # SBATCH --exclude n[1-3]  # bad nodes", 'sbatch = {exclude = "n[1-3]"}'),
        ("#SBATCH --exclusive", "sbatch = {exclusive = true}"),
    ],
)
def test_a_line_of_sbatch_in_setup_is_refused_with_the_field_to_write(
    line: str, field: str
) -> None:
    with pytest.raises(UserError) as error:
        Site(setup=("module load cuda", line))
    assert str(error.value).startswith("setup[1]: sbatch would not read") and field in str(error)


def test_options_that_are_not_named_are_no_flags() -> None:
    assert Resources().over(Site()).flags == {} == SbatchOptions().flags
    assert Config().resources_of("distill") == Resources()
