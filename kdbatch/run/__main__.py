"""The entry point of a worker process; its one argument is the run folder."""

import os
import sys

from kdbatch.base.output.standard_streams import repair_streams
from kdbatch.run.heartbeat import StopSignal

repair_streams()
# Before torch is imported: a signal in those seconds must not kill the run.
stop = StopSignal().listen()

from kdbatch.run.main import main  # noqa: E402

if __name__ == "__main__":
    code = main(sys.argv[1:], stop=stop)
    stop.ignore_signals()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:  # a full disk: Python would try again at exit, and replace the exit code
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    sys.exit(code)
