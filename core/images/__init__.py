"""Pictures and masks as tensors: geometry, canvas, colour, shading. No network."""
