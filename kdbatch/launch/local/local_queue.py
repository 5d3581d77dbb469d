"""The state of the local queue: which runs wait, run or have ended, and what follows from it."""

import dataclasses
import time

from kdbatch.base.disk_space import disk_full_error, no_space_line
from kdbatch.base.locks import is_held
from kdbatch.launch.local.worker import WorkerProcess, start_worker
from kdbatch.launch.run_folders import assignment_for
from kdbatch.launch.states.run_row import RunRow, run_row
from kdbatch.vocab.attempts.exit_rules import EXIT_DISK_FULL, EXIT_STOPPED, describe_exit, exit_rule
from kdbatch.vocab.config import Config
from kdbatch.vocab.plans.plan import Plan
from kdbatch.vocab.runs.folder import RunFolder
from kdbatch.vocab.status import RunState, Status, load_status, save_status

QUEUE_POLL_SECONDS = 0.5  # between checks of a run that another process holds


class LocalQueue:
    """The runs of one `run_locally` and their worker processes."""

    def __init__(
        self,
        plan: Plan,
        *,
        config: Config,
        jobs: int,
        gpus: tuple[str, ...],
        command: tuple[str, ...],
    ) -> None:
        self.stopping = False
        self.disk_full = ""  # where no space was found, and how much is left
        self._jobs, self._gpus, self._command, self._runs_dir = jobs, gpus, command, config.runs_dir
        self._folders = {p.run.id: RunFolder(config.runs_dir / p.run.id) for p in plan.runs}
        shards_dir = config.shards_dir.resolve()
        self._assignments = {
            p.run.id: assignment_for(p, config=config, shards_dir=shards_dir) for p in plan.runs
        }
        self._parents = {p.run.id: p.run.parents for p in plan.runs}
        self._states: dict[str, RunState] = {
            run_id: "done" if f.is_done() else "queued" for run_id, f in self._folders.items()
        }
        self._reasons: dict[str, str] = {}
        # sorted() is stable: among equal costs the plan's order stays
        longest_first = [p.run.id for p in sorted(plan.runs, key=lambda p: -p.cost.device_hours)]
        self._waiting = [run_id for run_id in longest_first if self._states[run_id] == "queued"]
        self._free_slots = list(range(jobs))
        self._workers: dict[str, WorkerProcess] = {}
        # runs that another process holds, and when to check each again (time.monotonic)
        self._recheck_at: dict[str, float] = {}
        self._started_at: dict[str, float] = {}
        self._attempt: dict[str, int] = {}
        self._startup_failures: dict[str, int] = {}
        self._max_startup_failures = config.retries.crash
        self._rows = {run_id: self._row(run_id) for run_id in self._folders}

    def is_busy(self) -> bool:
        """Whether anything runs or may still start."""
        return bool(self._workers) or (
            not self.stopping and bool(self._waiting or self._recheck_at)
        )

    @property
    def waiting(self) -> tuple[str, ...]:
        """The runs that will still be started."""
        return () if self.stopping else tuple(self._waiting)

    def start_ready(self) -> None:
        """Fill the free slots with runs whose parents are done, the longest first; block those that
        have a failed or blocked parent.
        """
        if self.stopping:
            return
        while any(self._block_after_parent(run_id) for run_id in tuple(self._waiting)):
            pass  # a blocked run blocks its children, whatever the order
        for run_id in tuple(self._waiting):
            if self.stopping or not self._free_slots:
                return
            if all(self._parent_state(parent) == "done" for parent in self._parents[run_id]):
                self._waiting.remove(run_id)
                self._start(run_id)

    def collect(self) -> None:
        """Handle the runs whose worker has ended, and check those that another process holds."""
        for run_id, worker in tuple(self._workers.items()):
            if (code := worker.process.poll()) is not None:
                del self._workers[run_id]
                self._free_slots.append(worker.slot)
                self._free_slots.sort()
                self._handle_exit(run_id, code)
        for run_id, when in tuple(self._recheck_at.items()):
            if time.monotonic() >= when:
                self._recheck(run_id)

    def stop(self) -> None:
        """Start nothing more and ask every worker, once, to save its checkpoint and end."""
        if not self.stopping:
            self._stop_starting()
            for worker in self._workers.values():
                worker.stop()

    def kill(self) -> None:
        """Start nothing more and kill every worker; its last checkpoint is kept."""
        if self._workers and not self.stopping:
            self._stop_starting()
        for worker in self._workers.values():
            worker.kill()

    def close(self) -> None:
        """Kill the workers that still run and wait for them; called on every way out."""
        self.kill()
        for worker in self._workers.values():
            worker.process.wait()

    def snapshot(self) -> tuple[RunRow, ...]:
        """The state of every run, in the plan's order."""
        for run_id, state in self._states.items():
            if state == "running":
                self._rows[run_id] = self._row(run_id)
        return tuple(self._rows.values())

    def _parent_state(self, run_id: str) -> RunState:
        if run_id in self._states:
            return self._states[run_id]
        return "done" if RunFolder(self._runs_dir / run_id).is_done() else "blocked"

    def _block_after_parent(self, run_id: str) -> bool:
        """Block a run if a parent has failed or is blocked; returns whether that is so."""
        for parent in self._parents[run_id]:
            if (state := self._parent_state(parent)) in ("failed", "blocked"):
                outside = "not part of this plan and not done"
                problem = state if parent in self._states else outside
                self._waiting.remove(run_id)
                self._end(run_id, "blocked", reason=f"parent {parent} is {problem}")
                return True
        return False

    def _start(self, run_id: str) -> None:
        folder = self._folders[run_id]
        if folder.is_done():  # by another process, since this queue was made
            self._end(run_id, "done")
            return
        slot = self._free_slots[0]
        self._started_at[run_id] = time.time()
        self._attempt[run_id] = self._attempt_of(run_id)
        try:
            self._workers[run_id] = start_worker(
                folder, slot=slot, jobs=self._jobs, gpus=self._gpus, command=self._command
            )
        except OSError as error:  # its log
            self._waiting.insert(0, run_id)
            self._stop_if_disk_full(error, folder)
            return
        self._free_slots.remove(slot)
        self._states[run_id] = "running"

    def _handle_exit(self, run_id: str, code: int) -> None:
        """Act on a worker's exit code, by the state in its rule (EXIT_RULES)."""
        state = exit_rule(code).state
        if self._folders[run_id].is_done():
            self._end(run_id, "done")
        elif code == EXIT_DISK_FULL:
            self._stop_for_full_disk(run_id)
        elif state == "done":
            self._fail(run_id, "its worker exited with 0 but wrote no done.json")
        elif state == "running":
            self._states[run_id] = "running"
            self._recheck_at[run_id] = time.monotonic() + QUEUE_POLL_SECONDS
        elif state == "blocked":
            reason = self._reason_of_worker(run_id) or "its worker found a parent that is not done"
            self._end(run_id, "blocked", reason=reason)
        elif state in ("stopped", "lost"):
            self._retry_or_stop(run_id, code)
        else:
            self._fail(run_id, self._reason_of_worker(run_id) or describe_exit(code))

    def _stop_for_full_disk(self, run_id: str) -> None:
        """End a run whose worker found no space, and the queue: the others would find none."""
        status = load_status(self._folders[run_id].status)
        has_reason = status is not None and status.heartbeat_at >= self._started_at[run_id]
        reason = status.reason if status and has_reason else ""
        self.disk_full = self.disk_full or reason or no_space_line(self._runs_dir)
        self._end(run_id, "stopped", reason=reason or self.disk_full)
        self.stop()

    def _stop_if_disk_full(self, error: OSError, folder: RunFolder) -> None:
        """Stop the queue where it found no space itself; any other error is raised again."""
        full = disk_full_error(error, path=folder.path, or_read_only=True)
        if full is None:
            raise error
        self.disk_full = self.disk_full or str(full)
        self.stop()

    def _retry_or_stop(self, run_id: str, code: int) -> None:
        """Start an interrupted run again, from its last checkpoint, unless the queue is stopping.

        A worker that came so far as to write its status counts its attempts itself; here are
        counted those that did not.
        """
        if self.stopping:
            reason = "asked to stop" if code == EXIT_STOPPED else describe_exit(code)
            self._end(run_id, "stopped", reason=reason)
            return
        has_begun = self._attempt_of(run_id) > self._attempt[run_id]
        failures = self._startup_failures.get(run_id, 0) + (not has_begun)
        self._startup_failures[run_id] = failures
        if not has_begun and failures > self._max_startup_failures:
            self._fail(run_id, f"{describe_exit(code)} before it began, {failures} times")
        else:
            self._requeue(run_id)

    def _attempt_of(self, run_id: str) -> int:
        status = load_status(self._folders[run_id].status)
        return status.attempt if status else 0

    def _recheck(self, run_id: str) -> None:
        """Check a run that another process held: it is done, has failed there, is free, or is still
        held.
        """
        folder = self._folders[run_id]
        if not folder.is_done() and is_held(folder.lock):
            self._recheck_at[run_id] = time.monotonic() + QUEUE_POLL_SECONDS
            return
        del self._recheck_at[run_id]
        status = load_status(folder.status)
        if folder.is_done():
            self._end(run_id, "done")
        elif status and status.state == "failed":
            self._end(run_id, "failed", reason=status.reason)
        else:
            self._requeue(run_id)

    def _stop_starting(self) -> None:
        """Give the runs that wait the state that their files have without a queue."""
        self.stopping = True
        for run_id in self._waiting:
            row = run_row(self._folders[run_id], self._assignments[run_id])
            self._end(run_id, row.state, reason=row.reason)

    def _requeue(self, run_id: str) -> None:
        self._states[run_id] = "queued"
        self._waiting.insert(0, run_id)
        self._rows[run_id] = self._row(run_id)

    def _reason_of_worker(self, run_id: str) -> str:
        """The reason that this attempt's worker wrote for its failure; empty if it wrote none."""
        status = load_status(self._folders[run_id].status)
        if status is None or status.heartbeat_at < self._started_at[run_id]:
            return ""
        return status.reason if status.state in ("failed", "blocked") else ""

    def _fail(self, run_id: str, reason: str) -> None:
        """End a run as failed. Where its worker could not write that into status.json, it is
        written here, for every reader of the folder.
        """
        folder = self._folders[run_id]
        if not self._reason_of_worker(run_id) and not is_held(folder.lock):
            status = load_status(folder.status) or Status(state="queued")
            failed = dataclasses.replace(
                status, state="failed", reason=reason, heartbeat_at=time.time()
            )
            try:
                save_status(folder.status, failed)
            except OSError as error:
                self._stop_if_disk_full(error, folder)
                self._end(run_id, "stopped", reason=self.disk_full)
                return
        self._end(run_id, "failed", reason=f"{reason}; see {folder.log}")

    def _end(self, run_id: str, state: RunState, *, reason: str = "") -> None:
        self._states[run_id], self._reasons[run_id] = state, reason
        self._rows[run_id] = self._row(run_id)

    def _row(self, run_id: str) -> RunRow:
        is_elsewhere = run_id in self._recheck_at
        return run_row(
            self._folders[run_id],
            self._assignments[run_id],
            state=self._states[run_id],
            reason="another process trains it" if is_elsewhere else self._reasons.get(run_id, ""),
        )
