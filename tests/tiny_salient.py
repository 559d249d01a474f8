"""The real network of salient objects with weights set by hand: red and blue things are what it finds."""

import torch

from core.models.salient import SalientFinder, SalientNetwork


def colour_finder(sharpness: float = 60.0, side_px: int = 64) -> SalientFinder:
    """Finds places whose red and blue differ by more than 0.4, with a probability that grows with `sharpness`; its
    features are those of a random encoder."""
    torch.manual_seed(3)
    network = SalientNetwork().eval().requires_grad_(False)
    reads, last = network.decoder.last
    assert isinstance(reads, torch.nn.Sequential)
    first = reads[0]
    assert isinstance(first, torch.nn.Conv2d)
    assert isinstance(last, torch.nn.Conv2d)
    for layer in (first, last):
        layer.weight.zero_()
    red, blue = first.in_channels - 3, first.in_channels - 1
    first.weight[0, red, 1, 1] = first.weight[1, blue, 1, 1] = 1.0
    first.weight[0, blue, 1, 1] = first.weight[1, red, 1, 1] = -1.0
    last.weight[0, :2, 1, 1] = sharpness
    assert last.bias is not None
    last.bias.fill_(-0.4 * sharpness)
    return SalientFinder(network, side_px)
