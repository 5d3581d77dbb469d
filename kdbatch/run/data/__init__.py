"""From stored videos to batches on the device: sampling, decoding in workers, augmentation."""
