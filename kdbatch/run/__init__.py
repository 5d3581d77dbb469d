"""One run on one node: `python -m kdbatch.run RUN_DIR`.

`main.py` locks the folder and handles how the run ends; `stages.py` has one function per kind of
run. Data, networks, tasks, training, evaluation, CKA and process groups are sub-packages.
"""
