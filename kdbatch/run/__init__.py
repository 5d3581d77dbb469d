"""One run on one node: `python -m kdbatch.run RUN_DIR`.

`main.py` takes the folder and `stages.py` has one function per kind of run. Data, networks, tasks,
training, evaluation, CKA and process groups are packages below.
"""
