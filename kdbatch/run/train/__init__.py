"""The training loop, its steps, optimizer, learning rate, teacher weighting and train state."""
