"""Looks into folders of a shared file system, where permission or a disk may be missing."""
