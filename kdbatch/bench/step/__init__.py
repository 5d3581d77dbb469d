"""`kdbatch bench step`: clips per second of training steps beside the usual loop and the parts of a
step.
"""
