"""Exports of finished networks; the `load.py` of every export imports its functions from here."""

from kdbatch.run.export.exported_network import load_exported
from kdbatch.run.export.read_clip import read_clip
from kdbatch.run.export.write_export import export_run

__all__ = ["export_run", "load_exported", "read_clip"]
