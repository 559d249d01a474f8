import pytest
import torch

from core.params.selection import Landmark
from lab.metrics.pck import pck
from tests.matches import trusted_matches


def test_keypoints_are_counted_by_the_size_of_the_thing_in_the_reference() -> None:
    """2 x 2 tokens, each matched to its own centre, in a reference of 200 x 100 px whose thing is 100 px wide."""
    places = torch.tensor([[[0.25, 0.25], [0.75, 0.25]], [[0.25, 0.75], [0.75, 0.75]]])
    matches = trusted_matches(places)
    mask = torch.zeros(100, 200)
    mask[20:60, 50:150] = 1.0
    right = Landmark(target=(0.1, 0.1), reference=(0.25, 0.25))
    close = Landmark(target=(0.9, 0.1), reference=(0.79, 0.25))  # 8 px off in x
    lower = Landmark(target=(0.1, 1.0), reference=(0.25, 0.83))  # 8 px off in y
    wrong = Landmark(target=(1.0, 1.0), reference=(0.25, 0.25))
    assert pck(matches, [right, close, lower, wrong], mask, alpha=0.1) == 0.75
    assert pck(matches, [right, close, lower, wrong], mask, alpha=0.05) == 0.25
    with pytest.raises(ValueError, match="no pair"):
        pck(matches, [], mask, alpha=0.1)
