"""The flags and help texts of the commands, one class of them per subject.

Each command imports the rooms that it needs inside itself: `kdbatch --help` stays fast, and a login
node needs no torch.
"""
