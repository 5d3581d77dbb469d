"""`kdbatch bench`: what a part costs on this machine, beside the usual tools, measured in one run.
One package per command.
"""
