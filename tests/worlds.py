"""Where the project's own files lie, for tests that use them as a user would."""

from pathlib import Path

JOBS = Path(__file__).parent.parent / "jobs"
