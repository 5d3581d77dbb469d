"""The request of a run's next job, after how its last one ended: more memory, other nodes."""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import replace

from kdbatch.launch.run_folders import submissions_dir
from kdbatch.launch.slurm.answers import QueuedJob
from kdbatch.launch.slurm.cluster_info import largest_memory_gb
from kdbatch.launch.slurm.commands import run_command
from kdbatch.launch.slurm.exit_reason import accounting_states, last_exit_reason, ran_out_of_memory
from kdbatch.launch.slurm.submissions import Submission, last_submissions
from kdbatch.vocab.attempts.retry_policy import CAUSE_BY_STATE
from kdbatch.vocab.config import Config
from kdbatch.vocab.jobs.lost_nodes import avoided_nodes, load_lost_nodes, note_lost_node
from kdbatch.vocab.jobs.resources import Resources
from kdbatch.vocab.plans.plan import Plan
from kdbatch.vocab.runs.folder import RunFolder
from kdbatch.vocab.status import load_status

UNKNOWN_NODE = 4  # times memory_gb is the most where sinfo does not tell what nodes have


def next_requests(
    plan: Plan, *, config: Config, live: Mapping[str, str], writes: bool = False
) -> dict[str, Resources]:
    """The request of each run of the plan that is neither done nor `live`. With `writes`, a node
    whose loss no later start of the run could note is noted.
    """
    submissions = last_submissions(submissions_dir(config.runs_dir))
    waiting = [p for p in plan.runs if not p.done and p.run.id not in live]
    ended = [submissions[p.run.id] for p in waiting if p.run.id in submissions]
    states = accounting_states([s.job_id for s in ended if last_exit_reason(s) is None])
    for planned in waiting:
        submission = submissions.get(planned.run.id) if writes else None
        if submission and CAUSE_BY_STATE.get(states.get(submission.job_id, "")) == "node_failure":
            _note_lost(RunFolder(config.runs_dir / planned.run.id), submission, planned.resources)
    lost = load_lost_nodes(config.runs_dir)
    requests: dict[str, Resources] = {}
    most: dict[str | None, int] = {}
    for planned in waiting:
        run_id, resources = planned.run.id, planned.resources
        partition = resources.over(config.site).partition
        if partition not in most:
            most[partition] = largest_memory_gb(partition)
        resources = with_limit(resources, node_gb=most[partition])
        if submission := submissions.get(run_id):
            state = states.get(submission.job_id, "")
            resources = _with_memory(resources, submission, state=state)
        requests[run_id] = _without_nodes(resources, avoided_nodes(lost, run_id), config)
    return requests


def with_limit(resources: Resources, *, node_gb: int) -> Resources:
    """The request, with a number as its largest memory: that of kdbatch.toml, or of a node."""
    most = resources.max_memory_gb or node_gb or UNKNOWN_NODE * resources.memory_gb
    return replace(resources, max_memory_gb=max(most, resources.memory_gb))


def more_memory(submission: Submission) -> int:
    """The memory in GB after that of a job that ran out of it; 0 where it had the most there is."""
    if submission.memory_gb >= submission.max_memory_gb:
        return 0
    return min(math.ceil(1.5 * submission.memory_gb), submission.max_memory_gb)


def _with_memory(resources: Resources, submission: Submission, *, state: str) -> Resources:
    """The request after a job with less memory, or with as much more as an earlier one needed.
    `state` is that of the job in the accounting.
    """
    needed = submission.memory_gb if submission.has_more_memory else 0
    if ran_out_of_memory(submission, last_exit_reason(submission), state=state):
        needed = math.ceil(1.5 * submission.memory_gb)  # also where the most was raised since
    most = resources.max_memory_gb
    return replace(resources, memory_gb=max(resources.memory_gb, min(needed, most)))


def _without_nodes(resources: Resources, nodes: tuple[str, ...], config: Config) -> Resources:
    own = resources.over(config.site).sbatch.get("exclude", "")
    names = ",".join(filter(None, (str(own), *nodes)))
    return replace(resources, sbatch={**resources.sbatch, "exclude": names}) if nodes else resources


def _note_lost(folder: RunFolder, submission: Submission, resources: Resources) -> None:
    """Note the node of a job that ended with it, if the run was there alone and has written so."""
    status = load_status(folder.status)
    if status and status.node and status.job == submission.job_id and resources.nodes == 1:
        note_lost_node(folder.path.parent, node=status.node, run_id=folder.id)


def avoid_lost_nodes(
    queue: Iterable[QueuedJob], live: Mapping[str, str], *, config: Config
) -> None:
    """Keep the user's jobs that wait in the queue, also again after the loss of their node, from
    nodes that their runs avoid: one scontrol, where there is such a node.
    """
    lost = load_lost_nodes(config.runs_dir)
    pending = {job.id for job in queue if job.state == "PENDING" and job.is_ours}
    by_nodes: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for run_id, job_id in live.items() if lost else ():
        if job_id in pending and (nodes := avoided_nodes(lost, run_id)):
            by_nodes[nodes].append(job_id)
    updates = [
        f"update JobId={','.join(job_ids)} ExcNodeList={','.join(nodes)}\n"
        for nodes, job_ids in by_nodes.items()
    ]
    if updates:
        run_command("scontrol", stdin="".join(updates))
