"""The rank of this process and the address of rank 0, from the variables of torchrun or srun."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from kdbatch.base.errors import UserError
from kdbatch.base.reading.shown_values import shown


@dataclass(frozen=True, kw_only=True)
class RankInfo:
    """One process among those that train together, and the address at which they connect.

    `local_rank` counts on its own node. `processes_on_node` processes share the cores that this
    process may use: under torchrun all of a node do, while SLURM gives each task its own.
    """

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0
    processes_on_node: int = 1
    host: str = ""
    port: int = 0


def rank_info(environ: Mapping[str, str]) -> RankInfo:
    """The rank that torchrun or srun gave this process; a single process where neither did.

    RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR and MASTER_PORT come first. Else a SLURM step of
    several tasks: its tasks are the processes. (SLURM_NTASKS would not do: it is set for the shell
    of an allocation too, in which no other process starts.)

    Raises:
        UserError: a variable is missing or is no number, or the rank is not below the world size.
    """
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK")
    if "WORLD_SIZE" not in environ and _number(environ, "SLURM_STEP_NUM_TASKS", default="1") > 1:
        names = ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID")
    elif environ.get("WORLD_SIZE", "1") == "1":
        return RankInfo()
    rank, world_size, local_rank = (_number(environ, name) for name in names)
    if not 0 <= rank < world_size:
        raise UserError(
            f"{names[0]}={rank}: no such process of {names[1]}={world_size}. Ranks count from 0."
        )
    host, port = environ.get("MASTER_ADDR", ""), environ.get("MASTER_PORT", "")
    if names[0] == "SLURM_PROCID":
        host = host or ("127.0.0.1" if environ.get("SLURM_STEP_NUM_NODES", "1") == "1" else "")
        # Two jobs on one node need different ports; clients get none below 32768.
        port = port or str(10000 + _number(environ, "SLURM_JOB_ID") % 20000)
    if not host or not port:
        raise UserError(
            f"{world_size} processes, but MASTER_ADDR or MASTER_PORT is not set: they cannot "
            "connect. Start them with torchrun, or export both: the first node's name and a free "
            "port."
        )
    return RankInfo(
        rank=rank,
        world_size=world_size,
        local_rank=local_rank,
        processes_on_node=max(1, _number(environ, "LOCAL_WORLD_SIZE", default="1")),
        host=host,
        port=_number({"MASTER_PORT": port}, "MASTER_PORT", most=65535),
    )


def _number(
    environ: Mapping[str, str], name: str, *, default: str = "nothing", most: int = 10**9
) -> int:
    value = environ.get(name, default)
    if not re.fullmatch("[0-9]{1,10}", value) or int(value) > most:
        raise UserError(
            f"{name}: expected a number, found {shown(value)}. Start the processes with torchrun "
            "or srun."
        )
    return int(value)
