"""The worker's entry: one argument, the run folder."""

import sys

from kdbatch.run.heartbeat import StopSignal

stop = (
    StopSignal().listen()
)  # before torch is imported: a signal may come in those seconds, and must not kill the run

from kdbatch.run.main import main  # noqa: E402

if __name__ == "__main__":
    code = main(sys.argv[1:], stop=stop)
    stop.ignore_signals()
    sys.exit(code)
