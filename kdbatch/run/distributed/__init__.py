"""One run trained by several processes: the process group, collectives with gradients, layers
synchronised over ranks.
"""
