"""The worker's entry: one argument, the run folder."""

import sys

from kdbatch.run.main import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
