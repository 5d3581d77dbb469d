"""Networks are compiled where that shortens what is left of a run, and nowhere else."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from support.compiling import Outcome

from kdbatch.run.compilation import trial
from kdbatch.run.compilation.trial import COMPILE_SECONDS, SAVED_SHARE, pays, reason_against
from kdbatch.run.context import RunContext
from kdbatch.run.data.clip_reader import ClipReader
from kdbatch.run.distributed.process_group import SINGLE_PROCESS, ProcessGroup
from kdbatch.run.heartbeat import StatusReporter, StopSignal
from kdbatch.vocab.runs.folder import RunFolder

pytestmark = pytest.mark.xdist_group("compilation")


@pytest.mark.parametrize("num_versions", [1, 4])
def test_compiling_pays_from_the_work_whose_saved_share_is_what_it_takes(num_versions: int) -> None:
    edge = num_versions * COMPILE_SECONDS / SAVED_SHARE
    assert pays(1.001 * edge, num_versions)
    assert not pays(edge, num_versions) and not pays(0.0, num_versions)


def test_what_speaks_against_compiling_is_named_except_on_a_cpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, cpu = RunFolder(tmp_path), torch.device("cpu")

    def reason(
        *, wanted: bool, group: ProcessGroup = SINGLE_PROCESS, infers: bool = False
    ) -> str | None:
        with StatusReporter(folder, device="cpu", stop=StopSignal(), writes=False) as reporter:
            context = RunContext(
                folder=folder,
                reporter=reporter,
                device=cpu,
                num_workers=0,
                clip_reader=ClipReader(decoder="pyav"),
                group=group,
                compile=wanted,
            )
            return reason_against(context, infers=infers)

    team = ProcessGroup(device=cpu, world_size=4)
    assert reason(wanted=True) == reason(wanted=False, group=team) == ""
    monkeypatch.setattr(trial, "COMPILE_DEVICES", frozenset({"cpu"}))
    assert reason(wanted=True) is None and reason(wanted=False) == "compile = false"
    assert "statistics of 4 processes" in (reason(wanted=True, group=team) or "")
    assert reason(wanted=True, group=team, infers=True) is None


def test_a_run_that_compiles_ends_with_the_weights_of_one_that_does_not(
    outcome: Callable[..., Outcome],
) -> None:
    """With a backend that computes what the network does; both sizes of a batch are tried."""
    found = outcome("run")
    assert found.num_graphs == 2 and "compiled the networks in" in found.log, found.log


def test_a_compiler_that_fails_is_slower_or_not_worth_its_time_is_left_out_and_named(
    outcome: Callable[..., Outcome],
) -> None:
    found = outcome("failures")
    lines = [line for line in found.log.splitlines() if "without torch.compile" in line]
    first, second, third = lines
    assert found.num_graphs == 0
    assert "which fails here: BackendCompilerFailed" in first and "no C compiler" in first
    assert "s with it" in second and "too few to earn back 50 s" in third
