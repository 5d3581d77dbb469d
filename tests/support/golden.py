"""Texts that were read and accepted once, kept in tests/golden/."""

import os
from pathlib import Path

GOLDEN_DIR = Path(__file__).parents[1] / "golden"


def assert_golden(name: str, text: str) -> None:
    """Fail if `text` differs from tests/golden/`name`; the message is the command to accept it."""
    path = GOLDEN_DIR / name
    if os.environ.get("KDBATCH_ACCEPT_GOLDEN") == "1":
        path.write_text(text, encoding="utf-8")
    test = os.environ["PYTEST_CURRENT_TEST"].partition(" ")[0]
    assert text == path.read_text(encoding="utf-8"), (
        f"{name} differs. Read it; to accept it: KDBATCH_ACCEPT_GOLDEN=1 pytest '{test}'"
    )
