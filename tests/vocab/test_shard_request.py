import inspect
import shlex

from kdbatch.cli.command import check_arguments
from kdbatch.cli.commands import Commands
from kdbatch.vocab.shard_request import ShardRequest


def test_the_command_line_of_a_request_is_parsed_to_the_same_arguments() -> None:
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
        "kdbatch shard k400 --split val --subset 10% --videos-per-shard 5 --max-rejected 0.2 "
        "--no-transcode --root '/data/my videos'"
    )
    assert check_arguments("shard", Commands().shard, shlex.split(request.command)[2:]) == [
        *("k400", "--split=val", "--subset=10%", "--videos_per_shard=5", "--max_rejected=0.2"),
        *("--no_transcode=true", "--root=/data/my videos"),
    ]


def test_the_defaults_of_a_request_are_those_of_the_command() -> None:
    request = ShardRequest(dataset="k400")
    assert request.command == "kdbatch shard k400"
    parameters = inspect.signature(Commands.shard).parameters
    assert parameters["no_transcode"].default is not request.transcode
    for name, value in vars(request).items():
        if name not in ("dataset", "transcode"):
            assert parameters[name].default == value, name
