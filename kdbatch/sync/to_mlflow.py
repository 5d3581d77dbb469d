"""Writes runs to MLflow: a folder (SQLite), or the URI of a database, a file store or a server.

MLflow itself knows what it has: the marks are tags, and before points are written, the history of
their curves is read, so that points of an interrupted sync are not written again.
"""

# pyright: reportMissingImports=false

import logging
import os
import re
from collections.abc import Mapping
from pathlib import Path

from kdbatch.base.atomic_write import make_folder
from kdbatch.base.command_lines import sync_command
from kdbatch.base.errors import UserError
from kdbatch.sync.snapshot import RunSnapshot
from kdbatch.sync.tracker import NO_MARK, Mark, Update, missing_library

# MLflow reports its use over the network unless it is forbidden before the import. A plain folder
# of MLflow 2 is read only with leave. An absent server is an error after seconds, not minutes.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
try:
    from mlflow.entities import Metric, Param, RunTag
    from mlflow.tracking import MlflowClient
except ImportError as error:
    raise missing_library("mlflow") from error

EXPERIMENT = "kdbatch"
TAG = "kdbatch."
BATCH_METRICS, BATCH_PARAMS = 1000, 100  # the most that one log_batch may have
MAX_PARAM_CHARS = 500
STATUS = {"done": "FINISHED", "failed": "FAILED", "damaged": "FAILED", "lost": "KILLED"}
RUNNING = ("running", "stale")


class MlflowStore:
    """An MLflow tracking store, with one experiment for all runs.

    `target` is a folder, in which `mlflow.db` is made unless it is a file store, or a URI.
    """

    def __init__(self, target: str) -> None:
        for name in ("mlflow", "alembic"):
            logging.getLogger(name).setLevel(logging.WARNING)
        self.uri, self._folder = _uri_of(target)
        self._client = MlflowClient(tracking_uri=self.uri)
        self._experiment = ""
        self._runs: dict[str, tuple[str, Mark]] = {}

    def open(self) -> None:
        found = self._client.get_experiment_by_name(EXPERIMENT)
        self._experiment = found.experiment_id if found else self._new_experiment()
        self._runs = self._load_runs()

    @property
    def is_local(self) -> bool:
        """Whether it is a folder or a file of this machine, and no server."""
        return self._folder is not None

    def _new_experiment(self) -> str:
        place = str((self._folder / "artifacts").resolve()) if self._folder else None
        return self._client.create_experiment(EXPERIMENT, artifact_location=place)

    def _load_runs(self) -> dict[str, tuple[str, Mark]]:
        """MLflow's id and the mark of each run, by the run's own id."""
        runs, token = {}, None
        while True:
            page = self._client.search_runs([self._experiment], max_results=1000, page_token=token)
            for found in page:
                tags = found.data.tags
                if run_id := tags.get(f"{TAG}run_id"):
                    runs[run_id] = (found.info.run_id, _mark_of(tags))
            token = page.token
            if not token:
                return runs

    @property
    def lock(self) -> Path | None:
        return self._folder / "kdbatch.lock" if self._folder else None

    def load_mark(self, run_id: str) -> Mark:
        return self._runs[run_id][1] if run_id in self._runs else NO_MARK

    def write(self, update: Update) -> None:
        run = update.run
        mlflow_id = self._runs[run.run_id][0] if run.run_id in self._runs else self._create(run)
        self._log_points(mlflow_id, update)
        tags = {f"{TAG}state": run.state} | _tags_of(update.mark)
        self._client.log_batch(
            mlflow_id, tags=[RunTag(name, value) for name, value in tags.items()]
        )
        status = "RUNNING" if run.state in RUNNING else STATUS.get(run.state, "SCHEDULED")
        if status in ("RUNNING", "SCHEDULED"):
            self._client.update_run(mlflow_id, status=status)
        else:
            end = round(1000 * run.status.heartbeat_at)
            self._client.set_terminated(mlflow_id, status, end_time=end)
        self._runs[run.run_id] = (mlflow_id, update.mark)

    def _create(self, run: RunSnapshot) -> str:
        tags = {
            f"{TAG}run_id": run.run_id,
            f"{TAG}kind": run.kind,
            f"{TAG}experiments": ", ".join(run.experiments),
            f"{TAG}roles": "; ".join(run.roles),
        }
        start = round(1000 * run.started_at)
        created = self._client.create_run(
            self._experiment, start_time=start, tags=tags, run_name=run.title
        )
        mlflow_id = created.info.run_id
        # Known by its tag from here on, so an interrupted sync goes on with it.
        self._runs[run.run_id] = (mlflow_id, NO_MARK)
        return mlflow_id

    def _log_points(self, mlflow_id: str, update: Update) -> None:
        """Log parameters and points; MLflow accepts a parameter again if its value is the same."""
        if update.is_first:
            parameters = [
                Param(name, str(value)[:MAX_PARAM_CHARS])
                for name, value in update.run.parameters.items()
            ]
            for i in range(0, len(parameters), BATCH_PARAMS):
                self._client.log_batch(mlflow_id, params=parameters[i : i + BATCH_PARAMS])
        last_step = max(0, update.mark.step, update.mark.progress_step)
        end = update.run.status.heartbeat_at
        points = [(p.name, p.step, p.value, p.at) for p in update.points]
        points += [(f"final/{name}", last_step, v, end) for name, v in update.measures.items()]
        written = {
            name: {metric.step for metric in self._client.get_metric_history(mlflow_id, name)}
            for name in {name for name, *_ in points}
        }
        metrics = [
            Metric(name, value, round(1000 * at), step)
            for name, step, value, at in points
            if step not in written[name]
        ]
        for i in range(0, len(metrics), BATCH_METRICS):
            self._client.log_batch(mlflow_id, metrics=metrics[i : i + BATCH_METRICS])


def _uri_of(target: str) -> tuple[str, Path | None]:
    """The tracking URI of a folder or URI, and its folder on this machine if it has one."""
    scheme, _, path = target.partition(":")
    if not re.match(r"[A-Za-z][A-Za-z0-9+.-]*:", target):  # RFC 3986, 3.1
        folder = Path(target)
        if "?" in str(folder.resolve()):
            raise UserError(
                f"{folder}: the address of a database cannot have a ? in it. "
                f"Name another folder: {sync_command('mlflow', 'FOLDER')}"
            )
        make_folder(folder, spelling=sync_command("mlflow", "FOLDER"))
        if any(folder.glob("*/meta.yaml")):
            return folder.resolve().as_uri(), folder
        return f"sqlite:///{folder.resolve()}/mlflow.db", folder
    if scheme == "sqlite":
        return target, Path(path.removeprefix("///")).parent
    return target, Path(path.removeprefix("//")) if scheme == "file" else None


def _tags_of(mark: Mark) -> dict[str, str]:
    return {
        f"{TAG}step": str(mark.step),
        f"{TAG}progress_step": str(mark.progress_step),
        f"{TAG}complete": str(mark.complete),
    }


def _mark_of(tags: Mapping[str, str]) -> Mark:
    """The mark in a run's tags; an empty one where a tag is missing or was edited."""
    try:
        return Mark(
            step=int(tags[f"{TAG}step"]),
            progress_step=int(tags[f"{TAG}progress_step"]),
            state=tags[f"{TAG}state"],
            complete=tags[f"{TAG}complete"] == "True",
        )
    except (KeyError, ValueError):
        return NO_MARK
