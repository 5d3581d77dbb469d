"""Renderers of drawings: PNG and PDF for the disk, SVG for the page."""
