"""The entry point of a worker process; its one argument is the run folder."""

import sys

from kdbatch.run.heartbeat import StopSignal

# Before torch is imported: a signal in those seconds must not kill the run.
stop = StopSignal().listen()

from kdbatch.run.main import main  # noqa: E402

if __name__ == "__main__":
    code = main(sys.argv[1:], stop=stop)
    stop.ignore_signals()
    sys.exit(code)
