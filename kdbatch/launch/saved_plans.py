"""The plans that were submitted, from their files: how each was submitted, which runs it has."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from kdbatch.base.command_lines import submit_command
from kdbatch.base.errors import UserError
from kdbatch.vocab.plans.plan import Plan
from kdbatch.vocab.plans.records import PlanRecord, RecordedRun, Submitted, load_records
from kdbatch.vocab.runs.folder import RunFolder


@dataclass(frozen=True, kw_only=True)
class SubmitRequest:
    """The arguments of `kdbatch submit` that a later command has to repeat."""

    files: tuple[Path, ...]
    profile: str
    local: bool = False
    jobs: int = 0

    def command(self, *, retry_failed: bool = False, wait: bool = False) -> str:
        """The command line, quoted for a shell."""
        return submit_command(
            self.files,
            profile=self.profile,
            local=self.local,
            jobs=self.jobs,
            retry_failed=retry_failed,
            wait=wait,
        )

    def note_in(self, plan: Plan, *, local: bool, study: Path) -> Plan:
        """The plan of these files, whose records say how it is submitted: to the `local` queue or
        to SLURM. `study` is the folder of the study.
        """
        records = tuple(
            replace(
                record,
                submitted=Submitted(file=_from_study(file, study), local=local, jobs=self.jobs),
            )
            for record, file in zip(plan.records, self.files, strict=True)
        )
        return replace(plan, records=records)


def choose_records(
    runs_dir: Path, files: Sequence[Path], *, profile: str, study: Path
) -> tuple[PlanRecord, ...]:
    """The submitted plans of these files, at this profile; without files, or without a profile, of
    all.

    Raises:
        UserError: nothing was submitted yet, or nothing of one of the files.
    """
    records = tuple(record for record in load_records(runs_dir) if profile in ("", record.profile))
    if not files and records:
        return records
    chosen: list[PlanRecord] = []
    for file in files:
        matching = [record for record in records if _is_of(record, file, study)]
        if not matching:
            raise UserError(_no_plan_of(file, profile, load_records(runs_dir), runs_dir, study))
        chosen += [record for record in matching if record not in chosen]
    if not chosen:
        raise UserError(_no_plan_of(None, profile, load_records(runs_dir), runs_dir, study))
    return tuple(chosen)


def group_requests(records: Sequence[PlanRecord], *, study: Path) -> tuple[SubmitRequest, ...]:
    """How these plans were submitted; those that differ in nothing but their file are one request.

    `local` is set where they went to the local queue, also without the flag. Plans of older
    versions, which do not say how they were submitted, are left out.
    """
    files: dict[tuple[str, bool, int], list[Path]] = {}
    for record in records:
        if how := record.submitted:
            key = (record.profile, how.local, how.jobs)
            files.setdefault(key, []).append(file_of(record, study))
    return tuple(
        SubmitRequest(files=tuple(paths), profile=profile, local=local, jobs=jobs)
        for (profile, local, jobs), paths in files.items()
    )


def file_of(record: PlanRecord, study: Path) -> Path:
    """The file of the experiment, from the current folder. For a plan of an older version, where it
    is by convention: in jobs/.
    """
    if record.submitted:
        return study / record.submitted.file
    usual = study / "jobs" / record.source
    return usual if usual.exists() else Path(record.source)


def recorded_runs(record: PlanRecord) -> tuple[RecordedRun, ...]:
    """The runs that the plan needs, each once. A plan of an older version names those of its
    tables and maps only, by their roles.
    """
    if record.runs:
        return record.runs
    roles = {cell.run_id: cell.role for cell in record.cells}
    return tuple(
        RecordedRun(id=run_id, title=record.roles.get(role, role), kind="")
        for run_id, role in roles.items()
    )


def is_complete(record: PlanRecord, runs_dir: Path) -> bool:
    """Whether all runs of the plan are done; one that cannot be read may not be."""
    return all(RunFolder(runs_dir / run.id).is_known_done() for run in recorded_runs(record))


def _from_study(file: Path, study: Path) -> str:
    """As it was typed; from the folder of the study, if it was typed elsewhere."""
    return str(file) if file.is_absolute() or not study.parts else os.path.relpath(file, study)


def _is_of(record: PlanRecord, file: Path, study: Path) -> bool:
    if record.submitted:
        return file_of(record, study).resolve() == file.resolve()
    return record.source == file.name


def _no_plan_of(
    file: Path | None, profile: str, records: Sequence[PlanRecord], runs_dir: Path, study: Path
) -> str:
    known = ", ".join(f"{file_of(record, study)} ({record.profile})" for record in records)
    what = f"of {file}" if file else "of it"
    at = f" at --profile {profile}" if profile else ""
    return f"{file or runs_dir}: nothing {what} was submitted{at}. Submitted were: {known}."
