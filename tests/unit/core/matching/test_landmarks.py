"""Landmarks, on maps whose truth is known."""

import math

import pytest
import torch
import torch.nn.functional as F
from pydantic import ValidationError

from core.images.geometry import WHOLE, crop_window, mirrored
from core.masks.regions import Masks
from core.matching.correspondence import Correspondence
from core.matching.landmarks import CanvasLandmarks, place_landmarks
from core.matching.solver import Constraints
from core.params.selection import Landmark
from core.params.transfer import MatchingParams, TransferParams
from core.pipeline import TransferInputs, transfer
from core.types import Canvas
from tests.tiny import tiny_models
from tests.unit.core.matching.solving import solved

SIDE = 16
GRID = (SIDE, SIDE)
ALL = torch.ones(SIDE * SIDE, dtype=torch.bool)
TRUTHS = {
    "as it is": torch.arange(SIDE * SIDE),
    "mirrored": torch.arange(SIDE * SIDE).unflatten(0, GRID).flip(-1).flatten(),
    "upside down": torch.arange(SIDE * SIDE).flip(0),
}
WRONG_ROWS, WRONG_COLUMNS = slice(4, 9), slice(4, 9)
FAR = 4
"""Tokens away from the wrong patch, measured along a side."""


def features(truth: torch.Tensor, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Smooth descriptors, the target's arranged by `truth`, but for a patch that looks like another place."""
    noise = torch.randn(24, SIDE, SIDE, generator=torch.Generator().manual_seed(seed))
    picture = F.avg_pool2d(F.pad(noise[None], (1, 1, 1, 1), mode="reflect"), 3, stride=1)[0]
    reference = picture.flatten(1).T
    target = reference[truth].clone()
    astray = torch.roll(reference[truth].unflatten(0, GRID), (7, 7), (0, 1))
    patch = target.unflatten(0, GRID)
    patch[WRONG_ROWS, WRONG_COLUMNS] = 0.35 * patch[WRONG_ROWS, WRONG_COLUMNS] + astray[WRONG_ROWS, WRONG_COLUMNS]
    return patch.flatten(0, 1), reference


def five_landmarks(truth: torch.Tensor, radius: float) -> CanvasLandmarks:
    """Centre and corners of the patch, each to its true counterpart."""
    tokens = torch.tensor([row * SIDE + column for row, column in ((6, 6), (4, 4), (4, 8), (8, 4), (8, 8))])

    def place(index: torch.Tensor) -> torch.Tensor:
        return torch.stack([index % SIDE + 0.5, index // SIDE + 0.5], dim=-1) / SIDE

    return CanvasLandmarks(place(tokens), place(truth[tokens]), radius)


def pck(found: Correspondence, truth: torch.Tensor, where: torch.Tensor) -> float:
    """Share of tokens matched within 0.1 of the side of the truth."""
    step = torch.stack([found.index % SIDE - truth % SIDE, found.index // SIDE - truth // SIDE], dim=-1).float()
    return float((step.norm(dim=-1) <= 0.1 * SIDE)[where].float().mean())


def zones() -> tuple[torch.Tensor, torch.Tensor]:
    """Tokens of the patch, and tokens far from it."""
    patch = torch.zeros(GRID, dtype=torch.bool)
    patch[WRONG_ROWS, WRONG_COLUMNS] = True
    close = F.max_pool2d(patch[None].float(), 2 * FAR + 1, stride=1, padding=FAR)[0] > 0
    return patch.flatten(), ~close.flatten()


@pytest.mark.parametrize("truth", TRUTHS.values(), ids=TRUTHS.keys())
@pytest.mark.parametrize("weight", [0.0, 2.0, 6.0])
def test_five_landmarks_put_their_neighbourhood_right_and_change_nothing_far_away(
    truth: torch.Tensor, weight: float
) -> None:
    patch, far = zones()
    for seed in range(3):
        target, reference = features(truth, seed)
        before = solved((target, reference), GRID, (ALL, ALL), neighbor_weight=weight)
        landmarks = five_landmarks(truth, radius=(FAR - 1) / SIDE)
        after = solved((target, reference), GRID, (ALL, ALL), Constraints(landmarks=landmarks), neighbor_weight=weight)
        assert pck(before, truth, patch) < 0.5
        assert pck(after, truth, patch) > 0.8
        assert torch.equal(after.index[far], before.index[far])
        assert torch.equal(after.similarity[far], before.similarity[far])
        assert pck(after, truth, ~patch) >= pck(before, truth, ~patch)
        own, counterparts = landmarks.tokens(GRID)
        assert torch.equal(after.index[own], counterparts)


def test_a_reach_below_one_token_moves_the_token_and_those_beside_it_at_most() -> None:
    target, reference = features(TRUTHS["mirrored"], 0)
    before = solved((target, reference), GRID, (ALL, ALL), neighbor_weight=2.0)
    landmarks = CanvasLandmarks(torch.tensor([[0.9, 0.1]]), torch.tensor([[0.1, 0.9]]), radius=0.01)
    after = solved((target, reference), GRID, (ALL, ALL), Constraints(landmarks=landmarks), neighbor_weight=2.0)
    changed = (after.index != before.index).nonzero().flatten()
    assert 1 * SIDE + 14 in changed
    assert bool(((changed // SIDE - 1).abs() <= 1).all() and ((changed % SIDE - 14).abs() <= 1).all())
    assert int(after.index[1 * SIDE + 14]) == 14 * SIDE + 1


def test_landmarks_are_given_on_the_pictures_and_land_on_the_canvases() -> None:
    given = [Landmark(target=(0.25, 0.5), reference=(0.0, 1.0)), Landmark(target=(1.0, 0.0), reference=(0.5, 0.5))]
    blank, everywhere = torch.zeros(3, 40, 40), torch.ones(40, 40)
    target, reference = (Canvas(blank, everywhere, box) for box in ((0.0, 0.0, 1.0, 1.0), (0.25, 0.0, 0.5, 1.0)))
    landmarks = place_landmarks(given, 0.2, target, reference)
    cropped = place_landmarks(given, 0.2, Canvas(blank, everywhere, (-0.5, -1.0, 2.0, 4.0)), reference)
    assert cropped.targets.tolist() == [[0.0, 1.0], [1.5, -1.0]]
    assert cropped.radius == pytest.approx(0.8)
    assert landmarks.targets.tolist() == [[0.25, 0.5], [1.0, 0.0]]
    assert landmarks.references.tolist() == [[0.25, 1.0], [0.5, 0.5]]
    half = crop_window(F.pad(torch.ones(40, 18), (11, 11)))  # 40 x 40 pixels, the middle
    through = landmarks.cropped(WHOLE, mirrored(WHOLE), (40, 40))
    assert through.references.tolist() == [[0.75, 1.0], [0.5, 0.5]]
    assert through.radius == pytest.approx(0.2)
    closer = CanvasLandmarks(torch.tensor([[0.5, 0.5]]), torch.tensor([[0.5, 0.75]]), 0.2).cropped(half, half, (40, 40))
    assert closer.targets.tolist() == [[0.5, 0.5]]
    assert closer.references.flatten().tolist() == pytest.approx([0.5, 0.5 + 0.25 * 0.9])
    assert closer.radius == pytest.approx(0.2 * 0.9)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("flipped", [False, True])
def test_a_landmark_shows_in_the_matches_of_a_transfer(flipped: bool, masked: bool) -> None:
    landmark = Landmark(target=(0.3, 0.6), reference=(0.8, 0.2))
    matching = MatchingParams(ensemble_size=1, mirrored=flipped, landmarks=(landmark,))
    params = TransferParams(num_inference_steps=2, strength=1.0, matching=matching)
    target, reference = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    figure = F.pad(torch.ones(40, 40), (12, 12, 12, 12))
    masks = Masks(figure, torch.roll(figure, (-8, 8), (0, 1))) if masked else Masks()
    matches = transfer(tiny_models(), TransferInputs(target, reference, masks), params, seed=0).matches
    rows, columns = matches.similarity.shape
    x, y = matches.positions[int(0.6 * rows), int(0.3 * columns)].tolist()
    assert math.isclose(x, 0.8, abs_tol=0.5 / columns)
    assert math.isclose(y, 0.2, abs_tol=0.5 / rows)


def test_landmarks_with_a_match_per_layer_are_refused() -> None:
    with pytest.raises(ValidationError, match="landmarks"):
        MatchingParams(source="per_layer", landmarks=(Landmark(target=(0.5, 0.5), reference=(0.5, 0.5)),))
