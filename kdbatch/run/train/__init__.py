"""The training loop and what one step does: losses, optimizer, learning rate, weighting of
teachers, train state.
"""
