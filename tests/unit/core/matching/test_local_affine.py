"""Matches between tokens, and the maps around them, on fields whose truth is known."""

import math

import pytest
import torch
from torch import Tensor

from core.images.geometry import token_places
from core.matching.local_affine import figure_slope, fit_locally, places_between
from tests.unit.core.matching.solving import solved

GRID = (12, 16)
COUNT = GRID[0] * GRID[1]
PLACES = token_places(GRID, torch.zeros(()))
ALL = torch.ones(COUNT, dtype=torch.bool)
TURN = torch.tensor([[0.6, -0.5], [0.5, 0.6]])


def turned() -> Tensor:
    return (PLACES - 7.0) @ TURN.T + 7.0


def test_the_best_match_lies_between_the_tokens_that_share_the_posterior() -> None:
    log_posterior = torch.full((COUNT, COUNT), -20.0)
    log_posterior[0, 5], log_posterior[0, 6] = 0.0, math.log(3.0)  # a quarter and three quarters
    log_posterior[0, 100] = math.log(2.0)  # another place, which has no weight
    x, y = places_between(log_posterior, GRID)[0].tolist()
    assert x == pytest.approx(5.5 + 0.75, abs=1e-3)
    assert y == pytest.approx(0.5, abs=1e-3)


def test_a_turned_field_is_left_as_it_is_and_its_slope_found() -> None:
    places, slopes = fit_locally(turned(), GRID, ALL, None, sigma=1.5)
    torch.testing.assert_close(places, turned(), rtol=0, atol=1e-3)
    torch.testing.assert_close(slopes, TURN.expand(COUNT, 2, 2), rtol=0, atol=1e-3)
    torch.testing.assert_close(figure_slope(turned(), GRID, ALL), TURN, rtol=0, atol=1e-2)


def test_noise_is_smoothed_and_a_wrong_match_put_right() -> None:
    noisy = turned() + 0.5 * torch.randn(COUNT, 2, generator=torch.Generator().manual_seed(0))
    middle = 6 * 16 + 8
    noisy[middle] += 6.0
    places, _ = fit_locally(noisy, GRID, ALL, None, sigma=1.5)
    assert (places - turned()).norm(dim=-1).mean() < 0.5 * (noisy - turned()).norm(dim=-1).mean()
    assert (places - turned())[middle].norm() < 1.0


def test_another_colour_and_what_is_outside_have_no_weight() -> None:
    left = PLACES[:, 0] < 8.0
    broken = torch.where(left[:, None], PLACES, PLACES + torch.tensor([-8.0, 3.0]))
    colours = torch.where(left[:, None], torch.tensor([0.9, 0.1, 0.1]), torch.tensor([0.1, 0.2, 0.9]))
    places, slopes = fit_locally(broken, GRID, ALL, colours, sigma=1.5)
    torch.testing.assert_close(places, broken, rtol=0, atol=0.05)  # the figure's slope is another
    torch.testing.assert_close(slopes[6 * 16 + 7], torch.eye(2), rtol=0, atol=0.1)
    garbage = torch.where(left[:, None], PLACES, 100.0 * torch.rand(COUNT, 2))
    places, _ = fit_locally(garbage, GRID, left, None, sigma=1.5)
    torch.testing.assert_close(places[left], PLACES[left], rtol=0, atol=0.05)


def test_refined_matches_stay_inside_the_mask_and_name_the_token_that_they_lie_in() -> None:
    features = torch.nn.functional.normalize(torch.randn(COUNT, 24, generator=torch.Generator().manual_seed(1)), dim=-1)
    there = PLACES[:, 0] > 5.0
    found = solved((features, features), GRID, (ALL, there), neighbor_weight=2.0, local_affine_sigma=1.5)
    assert bool(there[found.index].all())
    inside = (found.positions() * torch.tensor([16.0, 12.0])).floor().long()
    assert torch.equal(inside[:, 1] * 16 + inside[:, 0], found.index)
    plain = solved((features, features), GRID, (ALL, there), neighbor_weight=2.0)
    assert plain.refined is None
