import inspect
import shlex

from kdbatch.cli.command import check_arguments
from kdbatch.cli.commands import Commands
from kdbatch.vocab.shard_request import ShardRequest


def test_a_request_in_words_is_what_the_command_reads_quoted_for_a_shell() -> None:
    request = ShardRequest(
        dataset="k400",
        split="val",
        subset="10%",
        videos_per_shard=5,
        max_rejected=0.2,
        transcode=False,
        root="/data/my videos",
    )
    assert request.command == (
        "kdbatch shard k400 --split val --subset 10% --videos-per-shard 5 --max-rejected 0.2 --no-transcode --root '/data/my videos'"
    )
    assert check_arguments("shard", Commands().shard, shlex.split(request.command)[2:]) == [
        *("k400", "--split=val", "--subset=10%", "--videos_per_shard=5", "--max_rejected=0.2"),
        *("--no_transcode=true", "--root=/data/my videos"),
    ]


def test_what_is_left_out_is_what_the_command_takes_by_itself() -> None:
    usual = ShardRequest(dataset="k400")
    assert usual.command == "kdbatch shard k400"
    taken = {
        name: parameter.default
        for name, parameter in inspect.signature(Commands.shard).parameters.items()
    }
    assert taken.pop("no_transcode") is not usual.transcode
    assert {
        name: value for name, value in vars(usual).items() if name not in ("dataset", "transcode")
    }.items() <= taken.items()
