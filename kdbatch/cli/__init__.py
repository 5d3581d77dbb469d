"""The commands of `kdbatch`.

`groups/` has their flags and help texts; what each does is in the module of its subject.
"""
