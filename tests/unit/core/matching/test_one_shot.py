"""Correspondences from the clean pictures: of windows, with the reference moved, with named parts; and those that are
given."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from core.errors import ModelMissingError
from core.images.canvas import fit_canvas
from core.masks.regions import Masks
from core.matching.one_shot import custom_correspondence, region_landmarks
from core.models.models import Models
from core.params.selection import Landmark
from core.params.transfer import MatchingParams, TransferParams, nested, with_values
from core.pipeline import TransferInputs, match, transfer
from tests.tiny_vision import tiny_part_finder
from tests.unit.core.scenes import make_region, make_scene

Pictures = tuple[torch.Tensor, torch.Tensor]
FAST = {
    "num_inference_steps": 3,
    "matching.neighbor_weight": 0.0,
    "strength": 1.0,
    "matching.ensemble_size": 1,
    "injection.range": (1.0, 0.0),
    "injection.structure_every": 0,
}


def params(values: dict[str, object] = FAST) -> TransferParams:
    return TransferParams.model_validate(nested({**FAST, **values}))


def test_cropping_and_realigning_change_matches_only_where_a_mask_sets_a_figure_apart(
    models: Models, pictures: Pictures
) -> None:
    asked = TransferParams(num_inference_steps=2, matching=MatchingParams(ensemble_size=1))
    off = with_values(asked, {"matching.crop": False, "matching.realign": False})
    inputs = TransferInputs(*pictures)
    whole = [match(models, inputs, params, seed=0).matches.positions for params in (asked, off)]
    assert torch.equal(*whole)
    target_mask = torch.zeros(pictures[0].shape[1:])
    target_mask[10:50, 20:60] = 1.0
    inputs = TransferInputs(*pictures, Masks(target=target_mask))
    masked = [match(models, inputs, params, seed=0).matches for params in (asked, off)]
    assert not torch.equal(masked[0].positions, masked[1].positions)
    along_the_outline = masked[0].inside ^ masked[1].inside
    assert along_the_outline.sum() < 0.15 * masked[0].inside.sum()
    assert transfer(models, inputs, asked, seed=0).image.shape == (60, 88, 3)


def test_a_given_map_is_the_one_that_is_used(models: Models, pictures: Pictures) -> None:
    """The map that a result reports is used again, and a mirrored one is followed."""
    inputs = TransferInputs(*pictures)
    x, y = torch.meshgrid(torch.linspace(0.2, 0.7, 64), torch.linspace(0.3, 0.9, 44), indexing="xy")
    given = torch.stack([x + 0.1 * y, y - 0.2 * x], dim=-1)
    custom: dict[str, object] = {"matching.source": "custom", "matching.custom_map": as_places(given)}
    own = transfer(models, inputs, params(custom), seed=1)
    assert (own.matches.positions - given).abs().max() < 1e-3
    fed_back = {**custom, "matching.custom_map": as_places(own.matches.positions)}
    again = transfer(models, inputs, params(fed_back), seed=1)
    assert (again.matches.positions - given).abs().max() < 1e-3
    flipped = params({**custom, "matching.custom_map": as_places(given.flip(1))})
    other = transfer(models, inputs, flipped, seed=1)
    assert (other.matches.positions - given.flip(1)).abs().max() < 1e-3
    assert not torch.equal(other.image, own.image)


def as_places(positions: Tensor) -> list[list[tuple[float, ...]]]:
    return [[tuple(place) for place in row] for row in positions.tolist()]


def test_a_given_map_is_followed_between_its_places_too() -> None:
    """Turned and shrunk about the middle: so is what lies between the given places."""
    turn = torch.tensor([[0.6, -0.5], [0.5, 0.6]])
    centres = (torch.stack(torch.meshgrid(torch.arange(8), torch.arange(8), indexing="xy"), dim=-1) + 0.5) / 8 - 0.5
    places = ((centres @ turn.T) + 0.5).tolist()
    reference = fit_canvas(torch.rand(3, 8, 8), None, (8, 8))
    region = replace(make_region(torch.ones(4, 4), torch.ones(4, 4)), reference=reference)
    found = custom_correspondence([[tuple(place) for place in row] for row in places], reference, region, (8, 8))
    torch.testing.assert_close(found.positions().flatten(), torch.tensor(places).flatten())
    torch.testing.assert_close(found.local_affine.slopes, turn.expand(64, 2, 2), rtol=0, atol=1e-2)


def test_tokens_within_a_cell_of_a_given_map_keep_their_places() -> None:
    """Two cells, each two tokens wide and high: around (1/4, 1/4), and around (3/4, 3/4), where the lower ones would
    leave the picture."""
    reference = fit_canvas(torch.rand(3, 8, 8), None, (8, 8))
    region = replace(make_region(torch.ones(4, 4), torch.ones(4, 4)), reference=reference)
    found = custom_correspondence([[(0.25, 0.25), (0.75, 0.75)]], reference, region, (2, 4))
    assert found.index.tolist() == [0, 1, 6, 7, 4, 5, 6, 7]


def test_part_names_change_the_map_and_need_their_model(models: Models, pictures: Pictures) -> None:
    asked, inputs = params({"matching.parts": ["wing", "head"], "matching.part_weight": 4.0}), TransferInputs(*pictures)
    assert "part_finder" in asked.needed_models
    with pytest.raises(ModelMissingError, match="PLUMAGE_PART_FINDER"):
        match(models, inputs, asked, seed=0)
    holding = replace(models, part_finder=tiny_part_finder())
    plain, by_parts = (match(holding, inputs, one, seed=0).matches.positions for one in (params(), asked))
    assert not torch.equal(plain, by_parts)
    weightless = match(holding, inputs, with_values(asked, {"matching.part_weight": 0.0}), seed=0)
    assert torch.equal(weightless.matches.positions, plain)


def test_a_region_has_the_landmarks_that_lie_in_it_or_none(models: Models) -> None:
    left = torch.zeros(32, 32)
    left[:, :16] = 1.0
    latent = torch.zeros(1, 4, 32, 32)
    scene = make_scene(models, latent, latent, (left, left), lambda rows, timestep: rows)
    both = replace(scene, regions=(*scene.regions, make_region(1.0 - left, left)))
    marked = MatchingParams(landmarks=(Landmark(target=(0.25, 0.5), reference=(0.5, 0.75)),))
    for of_scene, expected in ((scene, [True]), (both, [True, False])):
        found = [region_landmarks(of_scene, region, marked) for region in of_scene.regions]
        assert [one is not None for one in found] == expected
        assert found[0] is not None
        assert found[0].references.tolist() == [[0.5, 0.75]]
        assert region_landmarks(of_scene, of_scene.regions[0], MatchingParams()) is None
