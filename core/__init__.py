"""The algorithm: tensors in, tensors out. No network, disk, environment or global state."""
