"""`runs/slurm/lost_nodes`: a line for each node that a run has lost, which people may delete."""

import os
import re
from collections import defaultdict
from pathlib import Path

from kdbatch.base.reading.regular_files import read_regular

MAX_RUNS = 3  # that a node may lose before the whole study avoids it
_LINE = re.compile(r"([A-Za-z0-9][\w.-]{0,254}) (r[0-9a-f]{10})", re.ASCII)


def lost_nodes_file(runs_dir: Path) -> Path:
    return runs_dir / "slurm" / "lost_nodes"


def note_lost_node(runs_dir: Path, *, node: str, run_id: str) -> None:
    """Add a line, in one write, so that several nodes may do it at once. A line that is there
    already, or that cannot be written, costs nothing but the next job's choice of a node.
    """
    line = f"{node} {run_id}"
    path = lost_nodes_file(runs_dir)
    try:
        if _LINE.fullmatch(line) and run_id not in load_lost_nodes(runs_dir).get(node, ()):
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
            try:
                os.write(descriptor, f"{line}\n".encode())
            finally:
                os.close(descriptor)
    except OSError:
        return


def load_lost_nodes(runs_dir: Path) -> dict[str, set[str]]:
    """The runs that lost each node. Other lines are left out, and a file that cannot be read."""
    try:
        text = read_regular(lost_nodes_file(runs_dir)).decode(errors="replace")
    except OSError:
        return {}
    runs: dict[str, set[str]] = defaultdict(set)
    for line in text.splitlines():
        if match := _LINE.fullmatch(line.strip()):
            runs[match[1]].add(match[2])
    return dict(runs)


def avoided_nodes(lost: dict[str, set[str]], run_id: str = "") -> tuple[str, ...]:
    """The nodes that the jobs of a run avoid; without a run, those that the study does."""
    return tuple(
        sorted(node for node, runs in lost.items() if run_id in runs or len(runs) >= MAX_RUNS)
    )
