"""Facts about an original video from its packets: is it whole, and when is each frame shown."""
