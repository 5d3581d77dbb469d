"""The local queue: runs a plan on this machine, one worker process per slot."""
