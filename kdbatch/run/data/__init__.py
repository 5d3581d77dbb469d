"""From stored videos to batches on the device: which clips, reading them in worker processes,
augmentation.
"""
