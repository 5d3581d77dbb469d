"""`kdbatch sync` with each tracker's own library: the run under way, finished, gone back, repeated.

Trackers that are not installed are skipped; TensorBoard is in the extra `dev`.
"""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Protocol

import pytest
from support.tracked import RunUnderWay, read_wandb_file

from kdbatch.base.atomic_write import write_json
from kdbatch.base.locks import hold_lock
from kdbatch.cli.command import dispatch
from kdbatch.cli.commands import Commands

# Those of the trackers' libraries are not ours.
pytestmark = pytest.mark.filterwarnings("ignore")

ROOT = Path(__file__).parents[2]
WORDS = {
    "tensorboard": ("sync", "tensorboard", "curves"),
    "wandb": ("sync", "wandb", "study"),
    "mlflow": ("sync", "mlflow", "tracked"),
}
Points = list[tuple[int, float]]


def killed(*_: object) -> None:
    """Stands for a kill at the moment when the mark would have been written."""
    raise KeyboardInterrupt


class Reader(Protocol):
    """The state and curves of a run in a tracker, read by its own library."""

    @property
    def words(self) -> tuple[str, ...]: ...

    @property
    def lock(self) -> Path: ...

    def kill_before_mark(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Let syncs end after the points and before the mark."""
        ...

    def curve(self, run_id: str, name: str) -> Points: ...

    def parameters(self, run_id: str) -> dict[str, Any]: ...

    def num_runs(self) -> int: ...

    def state(self, run_id: str) -> str: ...


class TensorboardReader:
    words = WORDS["tensorboard"]
    lock = Path("curves/kdbatch.lock")

    def kill_before_mark(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("kdbatch.sync.to_tensorboard.write_json", killed)

    def events(self, run_id: str) -> Any:
        reading = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
        (folder,) = Path("curves").glob(f"*{run_id}")
        accumulator = reading.EventAccumulator(str(folder), size_guidance={"tensors": 0})
        return accumulator.Reload()

    def curve(self, run_id: str, name: str) -> Points:
        events = self.events(run_id)
        if name not in events.Tags()["tensors"]:
            return []
        return [(event.step, event.tensor_proto.float_val[0]) for event in events.Tensors(name)]

    def parameters(self, run_id: str) -> dict[str, Any]:
        metadata = pytest.importorskip("tensorboard.plugins.hparams.metadata")
        content = self.events(run_id).SummaryMetadata("_hparams_/session_start_info")
        info = metadata.parse_session_start_info_plugin_data(content.plugin_data.content)
        return {
            name: getattr(value, value.WhichOneof("kind")) for name, value in info.hparams.items()
        }

    def num_runs(self) -> int:
        return len(list(Path("curves").glob("*/*tfevents*")))

    def state(self, run_id: str) -> str:
        text = self.events(run_id).Tensors("state")[-1].tensor_proto.string_val[0].decode()
        return text.partition(",")[0].strip()  # indented: Markdown shows it as it is


class WandbReader:
    words = WORDS["wandb"]
    lock = Path("wandb/kdbatch/study/kdbatch.lock")

    def __init__(self) -> None:
        pytest.importorskip("wandb").teardown()  # it keeps the settings of its first use

    def kill_before_mark(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def save(path: Path, value: dict[str, Any]) -> None:
            (write_json if value["unfinished"] else killed)(path, value)

        monkeypatch.setattr("kdbatch.sync.to_wandb.write_json", save)

    def _records(self, run_id: str) -> list[Any]:
        files = sorted(Path("wandb").glob(f"offline-run-*-{run_id}*/*.wandb"))
        return [record for file in files for record in read_wandb_file(file)]

    def curve(self, run_id: str, name: str) -> Points:
        points, own_steps = [], []
        for record in self._records(run_id):
            if record.WhichOneof("record_type") == "history":
                items = {item.key or item.nested_key[0]: item for item in record.history.item}
                own_steps.append(int(items["_step"].value_json))
                if name in items:
                    step = int(items["step"].value_json)
                    points.append((step, float(items[name].value_json)))
        assert own_steps == list(range(len(own_steps)))
        if name.startswith("final/") and name in (summary := self._summary(run_id)):
            points.append((40, summary[name]))
        return points

    def _summary(self, run_id: str) -> dict[str, Any]:
        return {
            item.key: json.loads(item.value_json)
            for record in self._records(run_id)
            if record.WhichOneof("record_type") == "summary"
            for item in record.summary.update
            if item.key
        }

    def parameters(self, run_id: str) -> dict[str, Any]:
        for record in self._records(run_id):
            if record.WhichOneof("record_type") == "run":
                return {item.key: json.loads(item.value_json) for item in record.run.config.update}
        return {}

    def num_runs(self) -> int:
        return len({path.name.split("-")[3] for path in Path("wandb").glob("offline-run-*")})

    def state(self, run_id: str) -> str:
        return self._summary(run_id)["state"]


class MlflowReader:
    words = WORDS["mlflow"]
    lock = Path("tracked/kdbatch.lock")

    def __init__(self) -> None:
        self.uri = f"sqlite:///{Path.cwd()}/tracked/mlflow.db"

    def kill_before_mark(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("kdbatch.sync.to_mlflow._tags_of", killed)

    def _client(self) -> Any:
        return pytest.importorskip("mlflow.tracking").MlflowClient(tracking_uri=self.uri)

    def _runs(self) -> list[Any]:
        client = self._client()
        return list(client.search_runs([client.get_experiment_by_name("kdbatch").experiment_id]))

    def _run(self, run_id: str) -> Any:
        (run,) = (run for run in self._runs() if run.data.tags["kdbatch.run_id"] == run_id)
        return run

    def curve(self, run_id: str, name: str) -> Points:
        history = self._client().get_metric_history(self._run(run_id).info.run_id, name)
        return [(metric.step, metric.value) for metric in history]

    def parameters(self, run_id: str) -> dict[str, Any]:
        return self._run(run_id).data.params

    def num_runs(self) -> int:
        return len(self._runs())

    def state(self, run_id: str) -> str:
        return self._run(run_id).data.tags["kdbatch.state"]


READERS: dict[str, type[Reader]] = {
    "tensorboard": TensorboardReader,
    "wandb": WandbReader,
    "mlflow": MlflowReader,
}


def need(package: str) -> None:
    """Skip the test without the tracker's library, unless KDBATCH_REQUIRE_TRACKERS names it."""
    if importlib.util.find_spec(package) is None:
        reason = f"{package} is not installed: pip install 'kdbatch[{package}]'"
        required = os.environ.get("KDBATCH_REQUIRE_TRACKERS", "").split()
        (pytest.fail if package in required else pytest.skip)(reason)


@pytest.fixture(params=READERS)
def reader(request: pytest.FixtureRequest, in_tmp: Path) -> Reader:
    need(request.param)
    return READERS[request.param]()


def sync(reader: Reader) -> int:
    return dispatch(Commands(), reader.words)


def steps(reader: Reader, run: RunUnderWay, name: str = "loss") -> list[int]:
    return [step for step, _ in reader.curve(run.id, name)]


def test_the_curves_of_a_run_under_way_are_there_and_each_sync_adds_what_is_new(
    reader: Reader,
) -> None:
    run = RunUnderWay()
    run.reach(25)
    assert sync(reader) == 0
    assert reader.curve(run.id, "loss") == [(10, 0.5), (20, 0.25)]
    assert reader.curve(run.id, "progress_percent") == [(25, 62.5)]
    assert reader.state(run.id) == "running"
    run.reach(30)
    sync(reader)
    assert reader.curve(run.id, "loss") == [(10, 0.5), (20, 0.25), (30, 0.125)]
    assert steps(reader, run, "lr") == [10, 20, 30]
    assert steps(reader, run, "progress_percent") == [25, 30]
    assert reader.num_runs() == 1


def test_a_run_that_went_back_after_a_requeue_has_no_point_twice(reader: Reader) -> None:
    run = RunUnderWay()
    for step, attempt in ((30, 1), (12, 2), (25, 2), (40, 2)):
        run.reach(step, attempt=attempt)
        sync(reader)
    assert steps(reader, run) == [10, 20, 30, 40]
    assert steps(reader, run, "progress_percent") == [30, 40]
    assert reader.num_runs() == 1


def test_a_finished_run_has_its_recipe_and_its_final_numbers_once(reader: Reader) -> None:
    run, waiting = RunUnderWay(), RunUnderWay(seed=1)
    run.reach(20)
    sync(reader)
    run.finish()
    for _ in range(3):
        sync(reader)
    assert steps(reader, run) == [10, 20, 30, 40]
    assert reader.curve(run.id, "final/top1") == [(40, 62.5)]
    parameters = reader.parameters(run.id)
    assert str(parameters["data.dataset"]) == "ucf101" and float(parameters["seed"]) == 0
    assert reader.state(run.id) == "done"
    assert reader.num_runs() == 1 and not waiting.folder.status.exists()


def test_an_interrupted_sync_leaves_no_point_that_the_next_one_repeats(
    reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = RunUnderWay()
    run.reach(10)
    sync(reader)
    run.reach(20)
    with monkeypatch.context() as context:
        reader.kill_before_mark(context)
        assert sync(reader) == 130
    run.reach(30)
    assert sync(reader) == 0
    assert reader.curve(run.id, "loss") == [(10, 0.5), (20, 0.25), (30, 0.125)]
    assert reader.num_runs() == 1


def test_two_syncs_at_once_write_once(reader: Reader, capsys: pytest.CaptureFixture[str]) -> None:
    run = RunUnderWay()
    run.reach(10)
    sync(reader)
    run.reach(20)
    with hold_lock(reader.lock):
        assert sync(reader) == 0
    assert "writes to" in capsys.readouterr().err
    assert steps(reader, run) == [10]


def test_a_damaged_run_costs_a_warning_and_not_the_others(
    reader: Reader, capsys: pytest.CaptureFixture[str]
) -> None:
    run, damaged = RunUnderWay(), RunUnderWay(seed=1)
    for each in (run, damaged):
        each.finish()
    damaged.folder.curves.write_bytes(b"PAR1")
    sync(reader)
    assert f"{damaged.id}/curves.parquet: cannot be read" in capsys.readouterr().err
    assert reader.curve(run.id, "final/top1") == [(40, 62.5)]
    damaged.finish()
    sync(reader)
    assert steps(reader, damaged) == [10, 20, 30, 40]
    assert reader.curve(damaged.id, "final/top1") == [(40, 62.5)]


@pytest.mark.parametrize("package", READERS)
def test_a_missing_library_is_one_line_with_the_command_that_installs_it(
    package: str,
    in_tmp: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    RunUnderWay().reach(10)
    for name in [name for name in sys.modules if name.partition(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delitem(sys.modules, f"kdbatch.sync.to_{package}", raising=False)
    monkeypatch.setitem(sys.modules, package, None)
    assert dispatch(Commands(), WORDS[package]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith(f"Install it: pip install 'kdbatch[{package}]'")
    assert not any(in_tmp.glob("curves*")) and not any(in_tmp.glob("tracked*"))


@pytest.mark.parametrize("package", READERS)
def test_without_runs_the_command_that_starts_some_is_named(
    package: str, in_tmp: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    need(package)
    assert dispatch(Commands(), WORDS[package]) == 2
    assert "Start some: kdbatch submit jobs/subset_size.yaml" in capsys.readouterr().err


def test_a_login_node_syncs_without_torch(in_tmp: Path) -> None:
    need("tensorboard")
    run = RunUnderWay()
    run.reach(10)
    code = (
        "import sys; sys.modules.update(torch=None, av=None); "
        "from kdbatch.cli.commands import main; sys.argv[1:] = ['sync', 'tensorboard', 'curves']; "
        "main()"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert steps(TensorboardReader(), run) == [10]


def test_nothing_is_sent_to_wandb_unless_its_own_mode_is_online(in_tmp: Path) -> None:
    need("wandb")
    code = "from kdbatch.sync.to_wandb import WandbProject; print(WandbProject('study').mode)"
    for mode, expected in (("", "offline"), ("online", "online"), ("disabled", "disabled")):
        environment = {**os.environ, "PYTHONPATH": str(ROOT)} | (
            {"WANDB_MODE": mode} if mode else {}
        )
        done = subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True
        )
        assert done.stdout.split() == [expected], done.stderr


def test_a_tensorboard_that_is_open_sees_what_a_later_sync_adds(in_tmp: Path) -> None:
    need("tensorboard")
    reader, run = TensorboardReader(), RunUnderWay()
    run.reach(10)
    sync(reader)
    opened = reader.events(run.id)
    run.reach(20)
    sync(reader)
    assert [event.step for event in opened.Reload().Tensors("loss")] == [10, 20]


def test_a_folder_of_mlflows_own_files_is_used_as_it_is(in_tmp: Path) -> None:
    need("mlflow")
    reader = MlflowReader()
    reader.uri = (in_tmp / "tracked").as_uri()
    os.environ["MLFLOW_ALLOW_FILE_STORE"] = "true"
    reader._client().create_experiment("mine")
    run = RunUnderWay()
    run.reach(20)
    for _ in range(2):
        assert sync(reader) == 0
    assert reader.curve(run.id, "loss") == [(10, 0.5), (20, 0.25)]
    assert not Path("tracked/mlflow.db").exists()
