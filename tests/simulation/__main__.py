"""Prints the tables of documents.

python -m tests.simulation coverage|power|studies|overlap|stored [NUMBER]

NUMBER is how many studies are simulated for each row, how many videos are copied (overlap), or how
many clips are read (stored).
"""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # as pytest does

from simulation.coverage import coverage_table
from simulation.overlap import overlap_table
from simulation.power import power_table
from simulation.stored_forms import forms_table
from simulation.studies import studies_table

TABLES: dict[str, Callable[[int], Iterator[str]]] = {
    "coverage": coverage_table,
    "power": power_table,
    "studies": studies_table,
    "overlap": overlap_table,
    "stored": forms_table,
}


def main(words: list[str]) -> int:
    if not words or words[0] not in TABLES or not all(word.isdecimal() for word in words[1:]):
        sys.stderr.write(f"usage: python -m tests.simulation {'|'.join(TABLES)} [NUMBER]\n")
        return 2
    for line in TABLES[words[0]](int(words[1]) if words[1:] else 1000):
        sys.stdout.write(line + "\n")
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
