"""Writes runs to a project of Weights & Biases; without network, unless wandb's own mode is online.

Offline, wandb makes a folder per run and sync, which `wandb sync` uploads in order. It cannot be
asked what was written, so the marks are in files below wandb's folder.
"""

# pyright: reportMissingImports=false

import dataclasses
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from kdbatch.base.atomic_write import load_json, write_json
from kdbatch.base.errors import UserError
from kdbatch.base.parse import parse
from kdbatch.base.reading.field_facts import Count
from kdbatch.sync.tracker import NO_MARK, Mark, Update, missing_library

try:
    # A folder named wandb, which wandb itself makes, can be imported, too; but it has no Settings.
    import wandb
    from wandb import Settings
except ImportError as error:
    raise missing_library("wandb") from error

STEP = "step"
MARK_KEY = "kdbatch.step"


@dataclass(frozen=True, kw_only=True)
class ProjectMark:
    """The contents of a mark's file. `num_logged` counts wandb's own steps, which have to grow.

    `unfinished` is wandb's folder of a sync in progress, which the next sync deletes if it still
    finds its name here: that sync was interrupted.
    """

    mark: Mark = NO_MARK
    num_logged: Count = 0
    unfinished: str = ""


class WandbProject:
    """A project, PROJECT or ENTITY/PROJECT. Mode and folder are wandb's own settings, as in
    WANDB_MODE and WANDB_DIR; where they name no mode, nothing is sent.
    """

    def __init__(self, project: str) -> None:
        self._entity, _, self._project = project.rpartition("/")
        settings = wandb.setup().settings
        has_mode = "mode" in settings.model_fields_set
        self.mode = settings.mode if has_mode else "offline"
        self.folder = Path(settings.root_dir) / "wandb"
        self._marks = self.folder / "kdbatch" / project.replace("/", ".")

    @property
    def lock(self) -> Path:
        return self._marks / "kdbatch.lock"

    def open(self) -> None:
        """Nothing to do: the marks are read one by one."""

    def load_mark(self, run_id: str) -> Mark:
        return self._project_mark(run_id).mark

    def _project_mark(self, run_id: str) -> ProjectMark:
        """Where its file is damaged, the mark is that of a run that wandb does not have."""
        path = self._mark_path(run_id)
        if not path.exists():
            return ProjectMark()
        try:
            return parse(ProjectMark, load_json(path), where=str(path))
        except UserError:
            return ProjectMark()

    def _mark_path(self, run_id: str) -> Path:
        return self._marks / f"{run_id}.json"

    def write(self, update: Update) -> None:
        run = update.run
        before = self._project_mark(run.run_id)
        _delete_unfinished(before)
        with wandb.init(
            entity=self._entity or None,
            project=self._project,
            id=run.run_id,
            name=run.title,
            group=run.experiments[0] if run.experiments else None,
            job_type=run.kind,
            config={**run.parameters, "roles": list(run.roles)} if update.is_first else None,
            resume="allow",
            mode=self.mode,
            dir=str(self.folder.parent),
            settings=_settings(),
        ) as writer:
            unfinished = str(Path(writer.dir).parent)
            self._save(run.run_id, replace(before, unfinished=unfinished))
            # Online, wandb knows what another machine has written.
            written = writer.summary.get(MARK_KEY)
            after = written if isinstance(written, int) else -1
            first_step = max(before.num_logged, writer.step)
            num_logged = _log_points(writer, update, after=after, first_step=first_step)
            writer.summary.update({f"final/{k}": value for k, value in update.measures.items()})
            writer.summary.update({"state": run.state, MARK_KEY: update.mark.step})
        self._save(run.run_id, ProjectMark(mark=update.mark, num_logged=num_logged))

    def _save(self, run_id: str, mark: ProjectMark) -> None:
        write_json(self._mark_path(run_id), dataclasses.asdict(mark))


def _settings() -> Any:
    """Neither this process's output nor its machine belong to the run."""
    return Settings(
        console="off",
        silent=True,
        disable_git=True,
        save_code=False,
        x_disable_stats=True,
        x_disable_meta=True,
    )


def _delete_unfinished(mark: ProjectMark) -> None:
    """Delete the folder of an interrupted offline sync, unless it was uploaded since."""
    folder = Path(mark.unfinished)
    if folder.name.startswith("offline-run-") and not any(folder.glob("*.synced")):
        shutil.rmtree(folder, ignore_errors=True)


def _log_points(writer: Any, update: Update, *, after: int, first_step: int) -> int:
    """Log the points beyond the step `after`, those of one step together; every curve is drawn over
    `step`. Returns the next of wandb's own steps.
    """
    writer.define_metric(STEP, hidden=True)
    writer.define_metric("*", step_metric=STEP)
    by_step: dict[int, dict[str, float]] = {}
    for point in update.points:
        if point.step > after:
            by_step.setdefault(point.step, {})[point.name] = point.value
    for number, step in enumerate(sorted(by_step), first_step):
        writer.log({STEP: step, **by_step[step]}, step=number)
    return first_step + len(by_step)
