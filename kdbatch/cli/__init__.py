"""The commands of `kdbatch`.

`commands.py` has all of them with their flags; what each does is in the module of its subject.
"""
