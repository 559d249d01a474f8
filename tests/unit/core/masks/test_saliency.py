"""The thing in a picture, found without any further weights."""

import pytest
import torch

from checkpoints.load import load
from checkpoints.settings import ModelSettings
from core.masks.regions import Masks
from core.masks.saliency import along_edges, find_foreground, parted, strangeness, unreached
from core.models.models import Models
from core.params.transfer import MaskParams, MatchingParams, TransferParams
from core.pipeline import TransferInputs, transfer
from lab.pairs import sample_pair
from lab.scenes import Domain

GRID = (12, 16)
INSIDE = torch.zeros(GRID, dtype=torch.bool)
INSIDE[4:9, 5:12] = True


def features(seed: int = 0) -> torch.Tensor:
    """One direction for the thing, another for what is around it, and some noise."""
    generator = torch.Generator().manual_seed(seed)
    directions = torch.randn(2, 24, generator=generator)
    return directions[INSIDE.flatten().long()] + 0.2 * torch.randn(INSIDE.numel(), 24, generator=generator)


def test_what_differs_from_the_border_is_strange() -> None:
    score = strangeness(features(), GRID).unflatten(0, GRID)
    assert float(score[INSIDE].min()) > float(score[~INSIDE].max())
    assert (float(score.min()) >= 0.0, float(score.max())) == (True, 1.0)


def test_what_no_side_leads_to_is_unreached() -> None:
    colours = torch.full((INSIDE.numel(), 3), 0.5)
    score = unreached(features(), colours, GRID).unflatten(0, GRID)
    assert float(score[INSIDE].min()) > float(score[~INSIDE].max())


def test_the_borders_of_a_score_move_to_those_of_the_picture() -> None:
    picture = torch.zeros(3, 32, 32)
    picture[:, :, 13:] = 1.0
    coarse = torch.zeros(4, 4)
    coarse[:, 2:] = 1.0
    found = along_edges(coarse, picture)
    assert float(found[:, 13:].min()) > 0.75
    assert float(found[:, :13].max()) < 0.25


def test_a_score_without_two_sides_has_no_thing() -> None:
    assert float(parted(torch.full((9,), 0.3)).max()) == 0.0
    weights = parted(torch.tensor([0.0, 0.05, 0.1, 0.9, 1.0]))
    assert weights.tolist() == [0.0, 0.0, 0.0, 1.0, 1.0]


@pytest.mark.parametrize("size", [(40, 56), (64, 200)])
def test_a_mask_has_the_pictures_size_and_repeats(models: Models, size: tuple[int, int]) -> None:
    picture = torch.rand(3, *size, generator=torch.Generator().manual_seed(1))
    mask = find_foreground(models, picture)
    assert mask.shape == size
    assert 0.0 <= float(mask.min()) <= float(mask.max()) <= 1.0
    assert torch.equal(mask, find_foreground(models, picture))


def test_what_is_given_of_a_picture_goes_before_what_is_found(models: Models) -> None:
    target, reference = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(2))
    given = torch.zeros(64, 64)
    given[:32] = 1.0
    params = TransferParams(
        num_inference_steps=2,
        resolution=64,
        masks=MaskParams(mode="auto"),
        matching=MatchingParams(ensemble_size=1),
    )
    used = transfer(models, TransferInputs(target, reference, Masks(target=given)), params, seed=0).masks
    assert used.target is not None
    assert torch.equal(used.target, given)
    assert used.reference is not None
    assert torch.equal(used.reference, find_foreground(models, reference))


def test_the_mini_finds_the_figures_of_rendered_scenes() -> None:
    models = load(ModelSettings()).models
    found = []
    for seed in (3, 4):  # a car, a house
        pair = sample_pair(Domain.TUNING, seed, 128)
        picture = torch.from_numpy(pair.target.image.copy()).permute(2, 0, 1).float() / 255.0
        mask, figure = find_foreground(models, picture) > 0.5, torch.from_numpy(pair.target.part > 0)
        found.append(float((mask & figure).sum() / (mask | figure).sum()))
    assert min(found) > 0.6, found
