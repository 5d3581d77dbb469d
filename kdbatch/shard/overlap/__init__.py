"""Near-duplicate videos of two data sets, found by perceptual hashes of their frames."""
