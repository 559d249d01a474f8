"""Matches that follow the affine maps of segments, on fields made of segments that are known."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from core.images.geometry import token_places
from core.matching.correspondence import LocalAffine
from core.matching.landmarks import CanvasLandmarks
from core.matching.local_affine import fit_locally
from core.matching.piecewise_affine import MAX_MOVE, follow_segments
from core.matching.solver import Constraints
from tests.unit.core.matching.solving import solved

GRID = (12, 20)
COUNT = GRID[0] * GRID[1]
PLACES = token_places(GRID, torch.zeros(()))
ALL = torch.ones(COUNT, dtype=torch.bool)
LEFT = PLACES[:, 0] < 10.0
TURN = torch.tensor([[0.6, -0.5], [0.5, 0.6]])
SQUEEZE = torch.tensor([[1.1, 0.0], [0.2, 0.7]])
JOINTED = torch.where(LEFT[:, None], (PLACES - 5.0) @ TURN.T + 5.0, (PLACES - 15.0) @ SQUEEZE.T + 14.0)
"""Two segments, each with a map of its own."""
SLOPES = torch.where(LEFT[:, None, None], TURN, SQUEEZE)
SAME = torch.zeros(COUNT, COUNT)
"""Cosines of features that tell nothing."""
NONE = torch.zeros(COUNT, dtype=torch.bool)
"""No token of the reference whose match is known."""


def noisy(deviation: float, seed: int = 0) -> Tensor:
    return JOINTED + deviation * torch.randn(COUNT, 2, generator=torch.Generator().manual_seed(seed))


def locally(places: Tensor, inside: Tensor = ALL) -> LocalAffine:
    return LocalAffine(GRID, *fit_locally(places, GRID, inside, None, sigma=1.5))


def follow(places: Tensor, cosine: Tensor = SAME, inside: Tensor = ALL, max_segments: int = 12) -> LocalAffine:
    return follow_segments(
        locally(places, inside), places, PLACES, cosine, inside, NONE, None, max_segments=max_segments
    )


def error(places: Tensor) -> float:
    return float((places - JOINTED).norm(dim=1).mean())


def test_two_segments_are_told_apart_and_their_maps_found() -> None:
    places = noisy(0.5)
    before, after = locally(places), follow(places)
    assert error(after.places) < 0.8 * error(before.places)
    off, was = ((of.slopes - SLOPES).flatten(1).norm(dim=1) for of in (after, before))
    assert off.median() < 0.5 * was.median()
    joint = (PLACES[:, 0] - 10.0).abs() < 2.0
    at_joint, was_there = ((of.places - JOINTED)[joint].norm(dim=1).mean() for of in (after, before))
    assert at_joint < 0.7 * was_there


def test_one_segment_alone_cannot_follow_a_joint() -> None:
    one, two = (follow(noisy(0.3), max_segments=count) for count in (1, 12))
    assert error(two.places) < error(one.places)


def test_wrong_matches_do_not_draw_a_segment_and_stay_where_they_were() -> None:
    places, wrong = noisy(0.2), torch.arange(COUNT) % 7 == 0
    places[wrong] = torch.tensor([18.0, 1.0])
    before = LocalAffine(GRID, places, SLOPES.clone())
    after = follow_segments(before, places, PLACES, SAME, ALL, NONE, None, max_segments=12)
    assert float((after.places - JOINTED)[~wrong].norm(dim=1).mean()) < 0.2
    astray = wrong & ((JOINTED - places).norm(dim=1) > MAX_MOVE + 0.5)
    assert astray.any()
    assert torch.equal(after.places[astray], places[astray])
    assert torch.equal(after.slopes[astray], before.slopes[astray])


def test_a_token_stays_where_features_tell_that_its_segment_leads_to_a_worse_place() -> None:
    places, centre = JOINTED.clone(), torch.tensor([5.0, 6.0])
    bent = (PLACES - centre).norm(dim=1) < 1.6
    places[bent] += torch.tensor([2.0, 0.0])
    before = LocalAffine(GRID, places, SLOPES.clone())
    telling = -0.2 * torch.cdist(places, PLACES)
    followed, kept = (
        follow_segments(before, places, PLACES, cosine, ALL, NONE, None, max_segments=12) for cosine in (SAME, telling)
    )
    assert (followed.places - places)[bent].norm(dim=1).min() > 1.0
    middle = int((PLACES - centre).norm(dim=1).argmin())
    assert torch.equal(kept.places[middle], places[middle])


def test_matches_drawn_to_the_middle_both_ways_give_the_size_that_things_have() -> None:
    generator = torch.Generator().manual_seed(0)
    middle, there = torch.tensor([10.0, 6.0]), (PLACES - torch.tensor([10.0, 6.0])).abs().amax(dim=1) < 5.0
    wide = torch.diag(torch.tensor([1.4, 1.2]))
    inside = ((PLACES - middle) @ wide).abs().amax(dim=1) < 5.0
    noise = 0.2 * torch.randn(2, COUNT, 2, generator=generator)
    places = middle + 0.8 * (PLACES - middle) @ wide + noise[0]
    back = middle + 0.8 * (PLACES - middle) @ wide.inverse() + noise[1]
    one_way, both_ways = (
        follow_segments(locally(places, inside), places, back, SAME, inside, known, None, max_segments=4).slopes[inside]
        for known in (NONE, there)
    )
    assert one_way.det().mean() < 0.7 * wide.det()
    assert 0.9 * wide.det() < both_ways.det().mean() < 1.1 * wide.det()


def test_what_is_outside_has_no_weight_and_no_segments_are_no_change() -> None:
    places = noisy(0.3)
    places[~LEFT] = 100.0 * torch.rand(int((~LEFT).sum()), 2, generator=torch.Generator().manual_seed(1))
    before, after = locally(places, LEFT), follow(places, inside=LEFT)
    assert torch.equal(after.places[~LEFT], before.places[~LEFT])
    assert torch.equal(after.slopes[~LEFT], before.slopes[~LEFT])
    assert float((after.places - JOINTED)[LEFT].norm(dim=1).mean()) < 0.2
    assert follow_segments(before, places, PLACES, SAME, LEFT, NONE, None, max_segments=0) is before


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 6), st.integers(1, 32), st.booleans(), st.integers(0, 2**31))
def test_the_smallest_and_the_wildest_figures_give_numbers(count: int, most: int, all_equal: bool, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    inside = torch.zeros(COUNT, dtype=torch.bool)
    inside[torch.randperm(COUNT, generator=generator)[:count]] = True
    places = torch.full((COUNT, 2), 3.0) if all_equal else 12.0 * torch.rand(COUNT, 2, generator=generator)
    colours = torch.rand(COUNT, 3, generator=generator)
    after = follow_segments(locally(places, inside), places, PLACES, SAME, inside, inside, colours, max_segments=most)
    assert bool(torch.isfinite(after.places).all() and torch.isfinite(after.slopes).all())


def test_matching_follows_segments_but_near_a_landmark_it_follows_the_landmark() -> None:
    generator = torch.Generator().manual_seed(3)
    features = torch.nn.functional.normalize(torch.randn(COUNT, 24, generator=generator), dim=-1)
    landmarks = CanvasLandmarks(torch.tensor([[0.25, 0.5]]), torch.tensor([[0.3, 0.4]]), 0.15)
    found, free = (
        solved(
            (features, features),
            GRID,
            (ALL, ALL),
            Constraints(landmarks=landmarks),
            neighbor_weight=2.0,
            local_affine_sigma=1.5,
            max_segments=count,
        )
        for count in (12, 0)
    )
    near, _ = landmarks.penalty(GRID)
    assert found.refined is not None
    assert free.refined is not None
    torch.testing.assert_close(found.refined.places[near], free.refined.places[near])
    assert not torch.equal(found.refined.places[~near], free.refined.places[~near])
