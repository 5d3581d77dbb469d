"""Tells what other distributions add for workers, and what of it does not keep its contract.

Reads JSON from its standard input, a list of the codes that runs were planned with; without any,
all that is installed is tried. Its last line of output is JSON, a mapping: `installed`, a line for
each distribution, and `problems`, a line for each.
"""

import json
import sys

from kdbatch.base.errors import UserError
from kdbatch.base.parse import parse
from kdbatch.base.reading.documents import parse_json
from kdbatch.run.extensions.try_all import problems
from kdbatch.vocab.extensions.sources import Code, check_code
from kdbatch.vocab.installed.tables import installed_lines


def problems_of(codes: list[Code]) -> list[str]:
    """The first problem with the codes, or those with the things that they have."""
    try:
        check_code(codes)
    except UserError as error:
        return [str(error)]
    return list(problems({code.distribution for code in codes}))


if __name__ == "__main__":
    raw = parse_json(sys.stdin.buffer.read(), where="standard input")
    found = problems_of([parse(Code, item, where="code") for item in raw])
    sys.stdout.write(f"{json.dumps({'installed': installed_lines(), 'problems': found})}\n")
