"""Every mistake in kdbatch.toml is one line: where, what was found, and what to write."""

from pathlib import Path

import pytest

from kdbatch.base.errors import UserError
from kdbatch.vocab.config import load_config

DATA_SETS = (
    'Published: k400, ssv2, ucf101, hmdb51. One of your own needs layout = "folders" or "table".'
)
TABLES = "Fields: decoder, paths, cache, site, container, retries, resources, datasets."
UNQUOTED = "is neither a number nor a text in quotes."
MISTAKES = {
    "[site]\npartition = gpu\n": (
        f":2: the value of 'partition' {UNQUOTED} Write: partition = \"gpu\""
    ),
    "[container]\nimage = /a/b.sif  # mine\n": (
        f":2: the value of 'image' {UNQUOTED} Write: image = \"/a/b.sif\""
    ),
    "[site]\npartition = \u201cgpu\u201d\n": (
        f":2: the value of 'partition' {UNQUOTED} Write: partition = \"gpu\""
    ),
    "[resources.pretrain]\ncompile = True\n": (
        f":2: the value of 'compile' {UNQUOTED} Write: compile = true"
    ),
    "[resources.pretrain]\ncompile = yes\n": (
        f":2: the value of 'compile' {UNQUOTED} Write: compile = true"
    ),
    "[site]\npartition: gpu\n": (
        ':2: a key and its value are joined by =. Write: partition = "gpu"'
    ),
    "[resources.pretrain]\ngpus 2\n": ":2: a key and its value are joined by =. Write: gpus = 2",
    '[site]\npartition = "gpu\naccount = "x"\n': (
        ":2: a quote in the value of 'partition' has no end. Write: partition = \"gpu\""
    ),
    "[site]\npartition = 'gpu\n": (
        ":2: a quote in the value of 'partition' has no end. Write: partition = 'gpu'"
    ),
    "[site]\naccount = none\n": ":2: TOML has no none. Delete the line of 'account'.",
    "[site]\npartition =\n": (
        ":2: the key 'partition' has no value. Write one, or delete the line."
    ),
    '[site\npartition = "gpu"\n': ":1: the name of a table is not closed. Write: [site]",
    "[site]\n[paths]\n[site]\n": (
        ":3: [site] is there twice. Put what belongs together in one place."
    ),
    '[container]\nbinds = ["a", "b"\nargs = []\n': (
        ":2: the [ that opens in the value of 'binds' is not closed. Write ] after its last "
        "value, and a comma between two."
    ),
    "[site]\nsetup = [module load x]\n": (
        ":2: in the value of 'setup', a text has no quotes. Write every text as \"TEXT\"."
    ),
    "[resources.pretrain]\nmemory_gb = 64GB\n": (
        ":2: the value of 'memory_gb', 64GB, is no number. Write digits alone, without a unit, or "
        'a text in quotes: memory_gb = "64GB"'
    ),
    '[paths]\nruns = "C:\\data"\n': (
        ":2: a backslash has a meaning in double quotes. Write: runs = 'C:\\data'"
    ),
    '[datasets.gestures]\nroot = "/a"\n': (
        f": datasets.gestures: there is no published data set 'gestures'. {DATA_SETS}"
    ),
    '[datasets.k40]\nroot = "/a"\n': (
        f": datasets.k40: there is no published data set 'k40'. Did you mean 'k400'? {DATA_SETS}"
    ),
    '[datasets.k400]\nrot = "/a"\n': (
        ": datasets.k400 has no field 'rot'. Did you mean 'root'? Fields: root, "
        "layout, title, table, columns, shares, seed, group, train_split, test_split, "
        "pretrain_split, fps, seconds_per_video."
    ),
    "[sites]\n": f" has no field 'sites'. Did you mean 'site'? {TABLES}",
    'partition = "gpu"\n': f" has no field 'partition'. It is a field of 'site'. {TABLES}",
    "[resources.pretrian]\ngpus = 1\n": (
        ": resources.pretrian: no such kind of run. Did you mean 'pretrain'? Kinds: import, "
        "pretrain, finetune, distill, retrieve, compare, shard."
    ),
    '[resources.pretrain]\ngpus = "1"\n': (
        ": resources.pretrain.gpus: expected a whole number, found the text '1'. Write it without "
        "quotes: 1."
    ),
    "[resources.pretrain]\ngpus = 1.0\n": (
        ": resources.pretrain.gpus: expected a whole number, found 1.0. Write it without a point: "
        "1."
    ),
    "[resources.pretrain]\nmemory_gb = -1\n": (
        ": resources.pretrain.memory_gb: found -1. Write 0 to 1,000,000."
    ),
    "[site]\naccount = true\n": (
        ': site.account: expected a text, found true. Write it in quotes: "true".'
    ),
    'datasets = ["a"]\n': (
        ": datasets: expected names with values, found ['a']. Write NAME = VALUE, one per line, "
        "below a line [TABLE]."
    ),
    '[site]\nsetup = "module load x"\n': (
        ": site.setup: expected a list, found 'module load x'. Write it in brackets: "
        '["module load x"].'
    ),
    '[[site]]\npartition = "a"\n': (
        ": site: expected fields with values, found a list of them. Write them once, without "
        "brackets or dashes. Fields: partition, account, qos, constraint, gpu_type, sbatch, "
        "gpu_flag, exclusive, node_gpus, packing, max_array_size, max_concurrent, setup."
    ),
}


@pytest.mark.parametrize("text", MISTAKES)
def test_the_message_says_where_what_and_what_to_write(in_tmp: Path, text: str) -> None:
    Path("kdbatch.toml").write_text(text, encoding="utf-8")
    with pytest.raises(UserError) as caught:
        load_config(Path("kdbatch.toml"))
    message = f"kdbatch.toml{MISTAKES[text]}"  # a description of the field may follow
    assert str(caught.value) == message or str(caught.value).startswith(f"{message} ")


def test_a_file_of_another_encoding_is_named(in_tmp: Path) -> None:
    Path("kdbatch.toml").write_bytes(b"# caf\xe9\n")
    with pytest.raises(UserError, match=r"^kdbatch\.toml: is not UTF-8 text\. Save it as UTF-8"):
        load_config(Path("kdbatch.toml"))
