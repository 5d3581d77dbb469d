"""The errors of SLURM's clients: which of them pass, and what would do against the others."""

import re

PASSING = (
    # The controller is busy, restarting, or out of reach.
    "unable to contact slurm controller",
    "unable to establish control",
    "timed out",
    "zero bytes were transmitted",
    "unexpected message received",
    "message receive failure",
    "message send failure",
    "communication connection failure",
    "communication shutdown failure",
    "insane message length",
    "header lengths are longer than data received",
    "temporarily unable",
    "temporarily unavailable",
    "presently disabled",
    "in standby",
    "shutting down",
    "rate limit",
    "rpc limit",
    "back off",
    "backoff",
    "try again",
    "unable to create job record",
    "error writing script",
    # The daemon of the accounting, or the one that signs messages.
    "slurm database daemon",
    "slurm_persist_conn",
    "persistent connection",
    "persistinit",
    "unable to connect to database",
    "slurmdbd",
    "protocol authentication error",
    "munge encode failed",
    "munge decode failed",
    "munge.socket",
    # The network.
    "connection refused",
    "connection reset",
    "connection aborted",
    "broken pipe",
    "host is down",
    "network is down",
    "network is unreachable",
    "no route to host",
    "name resolution",
    "stale file handle",
    "transport endpoint",
    "interrupted system call",
)
"""Parts of errors after which the same call may succeed later, in small letters. They are those of
SLURM's table of errors (src/common/slurm_errno.c) and of the system's.
"""

_SUBMIT_LIMIT = (
    "The account, the QOS or the partition allows fewer jobs in the queue at a time: wait until "
    "some have ended, and see the limits: sacctmgr show assoc where user=$USER, or: sacctmgr show "
    "qos"
)
# Limits on how many jobs there are, by the words that name them. The text "Job violates
# accounting/QOS policy (job submit limit, ...)" stands for limits of any kind.
_JOB_LIMIT = re.compile(r"\b\w*Submit\w*Limit\b|\bMaxSubmit\w*|submission limit", re.I)
_ARRAY_LIMIT = re.compile(r"invalid job array specification|MaxArraySize", re.I)
_FULL_QUEUE = re.compile(
    r"job queue full|temporarily unable to accept job|unable to create job record"
    r"|MaxJobCount|maximum job count",
    re.I,
)

_SIZE_LIMIT = (
    "A limit of the account, the QOS or the partition: request less under [resources] in "
    "kdbatch.toml, or see the limits: sacctmgr show assoc where user=$USER, or: sacctmgr show qos"
)
_MINUTES = (
    "Lower minutes under [resources] in kdbatch.toml, or name another partition or qos under "
    "[site]. The limits of the partitions: sinfo --format='%P %l'"
)

# (a pattern of the error, what would do); the first that is found counts.
_REMEDIES = (
    (
        r"max_?submit|grp_?submit|submission limit|maximum job count|job queue full",
        _SUBMIT_LIMIT,
    ),
    (r"max_?wall|time limit is invalid|partition_?time_?limit|time_?limit", _MINUTES),
    (
        r"(assoc|qos|partition)_?(max|grp|min)\w+|violates accounting",
        _SIZE_LIMIT,
    ),
    (
        r"job array|max_?array_?size",
        "Lower max_array_size under [site] in kdbatch.toml; it is at most: "
        "scontrol show config | grep MaxArraySize",
    ),
    (
        r"invalid partition|no partition specified|partition .*(not avail|down)|use this partition",
        "Check partition under [site] in kdbatch.toml against: sinfo --format='%P %a'",
    ),
    (
        r"invalid account|account/partition|invalid user id",
        "Check account under [site] in kdbatch.toml against: "
        "sacctmgr show assoc where user=$USER format=account,partition",
    ),
    (
        r"qos",
        "Check qos under [site] in kdbatch.toml against: "
        "sacctmgr show assoc where user=$USER format=account,qos",
    ),
    (
        r"feature specification|constraint",
        "Check constraint under [site] in kdbatch.toml against: sinfo --format='%P %f'",
    ),
    (
        r"generic resource|gres",
        "Check gpu_flag and gpu_type under [site] in kdbatch.toml against: sinfo --format='%P %G'",
    ),
    (
        r"node configuration|memory specification|cpu count|node count|more processors",
        "No node has all that is requested: check [resources] in kdbatch.toml against: "
        "sinfo --format='%P %c %m %G'",
    ),
)
_ERROR = re.compile(r"\b(error|fatal):|\b(unrecognized|invalid|unknown) option", re.I)
_ERROR_PREFIX = re.compile(r"^[\w-]+: (error|fatal): ", re.I)
MAX_LINE = 200  # characters of a line in a message
BUSY = "Is the controller up? Ask it: scontrol ping"
_OTHER = "Check [site] in kdbatch.toml against: sinfo"


def limit_on_jobs(error: str) -> str:
    """The limit on the number of jobs that an error of sbatch names: one of the user's, the
    account's, the QOS's or the partition's jobs, `MaxArraySize` or `MaxJobCount`; empty if none.

    MaxJobCount is that of the whole cluster, for which sbatch itself waits two minutes.
    """
    if found := _JOB_LIMIT.search(error):
        return found[0]
    if _ARRAY_LIMIT.search(error):
        return "MaxArraySize"
    return "MaxJobCount" if _FULL_QUEUE.search(error) else ""


def is_transient(text: str) -> bool:
    """Whether an error message of SLURM's clients means that the same call may succeed later."""
    lowered = text.lower()
    return any(phrase in lowered for phrase in PASSING)


def remedy(error: str) -> str:
    """The advice against an error with which sbatch refuses a job."""
    usual = BUSY if is_transient(error) else _OTHER
    return next((words for part, words in _REMEDIES if re.search(part, error, re.I)), usual)


def main_line(errors: str) -> str:
    """The line that names the problem, of all that a command has printed; empty if there is none.

    A limit has a line of its own, before that of the refusal, and so has a plugin: of several
    errors it has the first and the last.
    """
    lines = [" ".join(line.split())[:MAX_LINE] for line in errors.split("\n") if line.strip()]
    named = [line for line in lines if _ERROR.search(line)]
    shown = dict.fromkeys((named[0], _ERROR_PREFIX.sub("", named[-1]))) if named else lines[-1:]
    first, *others = shown or [""]
    return "; ".join([first, *(line for line in others if not first.endswith(line))])
