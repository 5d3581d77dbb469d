"""A browser for the tests of this folder."""

from support.browser import chromium

__all__ = ["chromium"]
