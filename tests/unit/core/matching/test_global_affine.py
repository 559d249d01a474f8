"""The figure's affine map: found from features that are known to follow one, and from outlines."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from core.images.geometry import token_places
from core.matching.global_affine import FARTHEST, PENALTY_SAME, SURELY_SAME, agreement, distance_from_affine, fit_affine
from core.matching.solver import Constraints
from core.types import Outlines
from tests.unit.core.matching.solving import solved

GRID = (24, 20)
CHANNELS = 24


def descriptors(places: Tensor) -> Tensor:
    """A smooth field of unit features over the plane, in tokens; alike only near by."""
    generator = torch.Generator().manual_seed(5)
    waves = torch.randn(2, CHANNELS // 2, generator=generator) * 0.35
    phase = places @ waves
    field: Tensor = torch.cat([phase.cos(), phase.sin()], dim=-1) / (CHANNELS / 2) ** 0.5
    return field


def figure(places: Tensor) -> Tensor:
    """Tokens of an oval in the middle of the grid."""
    away = (places - torch.tensor([10.0, 12.0])) / torch.tensor([5.0, 8.0])
    return away.square().sum(-1) < 1.0


MAPS = {
    "moved": ([[1.0, 0.0], [0.0, 1.0]], [2.0, 1.0]),
    "turned": ([[0.77, -0.64], [0.64, 0.77]], [10.0, -4.0]),
    "mirrored": ([[-1.0, 0.0], [0.0, 1.0]], [20.0, 0.0]),
    "sheared and shrunk": ([[0.8, 0.2], [-0.1, 0.7]], [0.0, 4.0]),
}


def pictures(linear: list[list[float]], offset: list[float], noise: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Cosines, both masks, and the true places of the target's tokens."""
    places = token_places(GRID, torch.zeros(()))
    matrix, shift = torch.tensor(linear), torch.tensor(offset)
    true = places @ matrix.T + shift
    back = (places - shift) @ torch.linalg.inv(matrix).T
    target_mask, reference_mask = figure(places), figure(back)
    generator = torch.Generator().manual_seed(0)
    target = descriptors(true) + noise * torch.randn(len(places), CHANNELS, generator=generator)
    cosine = torch.nn.functional.normalize(target, dim=-1) @ descriptors(places).T
    return cosine, target_mask, reference_mask, true


@pytest.mark.parametrize("name", MAPS)
def test_finds_the_map_through_noise(name: str) -> None:
    cosine, target_mask, reference_mask, true = pictures(*MAPS[name], noise=0.3)
    outlines = outlined(target_mask, reference_mask)
    for given in (outlines, replace(outlines, alike=False)):
        found = fit_affine(cosine, GRID, given).affine(token_places(GRID, cosine))
        assert (found - true)[target_mask].norm(dim=-1).max() < 1.0


@pytest.mark.parametrize("name", MAPS)
def test_outlines_of_one_shape_find_the_map_that_features_do_not(name: str) -> None:
    """Of features nothing is known but noise; the figure, an oval with a head, has no symmetry."""
    matrix, shift = (torch.tensor(values) for values in MAPS[name])
    fine = (4 * GRID[0], 4 * GRID[1])
    places = token_places(fine, matrix) / 4.0
    back = (places - shift) @ torch.linalg.inv(matrix).T
    outlines = Outlines(*(with_head(where).float().unflatten(0, fine) for where in (places, back)))
    generator = torch.Generator().manual_seed(2)
    cosine = 0.2 * torch.randn(GRID[0] * GRID[1], GRID[0] * GRID[1], generator=generator)
    found = fit_affine(cosine, GRID, outlines)
    assert found.overlap > SURELY_SAME
    inside = token_places(GRID, matrix)[with_head(token_places(GRID, matrix))]
    assert (found.affine(inside) - (inside @ matrix.T + shift)).norm(dim=-1).max() < 0.5


def with_head(places: Tensor) -> Tensor:
    head = (places - torch.tensor([13.5, 6.0])).norm(dim=-1) < 2.5
    either: Tensor = figure(places) | head
    return either


def test_the_overlap_of_other_shapes_does_not_count() -> None:
    """A figure and a thin bar: the features decide alone."""
    cosine, target_mask, _, _ = pictures(*MAPS["moved"], noise=0.0)
    bar = torch.zeros(GRID, dtype=torch.bool)
    bar[GRID[0] // 2 - 1 : GRID[0] // 2 + 1] = True
    found = fit_affine(cosine, GRID, outlined(target_mask, bar.flatten()))
    assert found.trust == 0.0


def outlined(target: Tensor, reference: Tensor) -> Outlines:
    """The masks of tokens as those of latents."""
    return Outlines(*(mask.float().unflatten(0, GRID) for mask in (target, reference)))


def test_is_the_same_every_time() -> None:
    cosine, target_mask, reference_mask, _ = pictures(*MAPS["turned"], noise=0.3)
    first, second = (fit_affine(cosine, GRID, outlined(target_mask, reference_mask)).affine for _ in range(2))
    assert torch.equal(first.linear, second.linear)
    assert torch.equal(first.offset, second.offset)


def test_one_token_is_a_figure_too() -> None:
    cosine = torch.zeros(GRID[0] * GRID[1], GRID[0] * GRID[1])
    one = torch.zeros(len(cosine), dtype=torch.bool)
    one[250] = True
    lost = distance_from_affine(cosine, GRID, outlined(one, one))
    assert bool(torch.isfinite(lost).all())
    assert lost[250, 250] == pytest.approx(0.0, abs=1e-3)


def test_penalty_is_bounded() -> None:
    cosine, target_mask, reference_mask, _ = pictures(*MAPS["moved"], noise=0.0)
    lost = distance_from_affine(cosine, GRID, outlined(target_mask, reference_mask))
    assert float(lost.min()) >= 0.0
    assert float(lost.max()) == pytest.approx(0.3)


def test_outlines_of_one_shape_bind_matches_only_where_features_cannot_tell_places_apart() -> None:
    cosine, target_mask, reference_mask, _ = pictures(*MAPS["moved"], noise=0.0)
    outlines = outlined(target_mask, reference_mask)
    assert agreement(cosine, GRID, outlines) == 1.0
    noise = 0.2 * torch.randn(cosine.shape, generator=torch.Generator().manual_seed(2))
    assert agreement(noise, GRID, outlines) == 0.0
    assert float(distance_from_affine(noise, GRID, outlines).max()) == pytest.approx(PENALTY_SAME * FARTHEST)


def test_the_figures_map_settles_what_features_leave_open() -> None:
    """Features of which a third is noise: alone many tokens go astray, together they follow the figure."""
    places = token_places(GRID, torch.zeros(()))
    _, target_mask, reference_mask, true = pictures(*MAPS["mirrored"], noise=0.0)
    generator = torch.Generator().manual_seed(1)
    target = descriptors(true) + 0.25 * torch.randn(len(places), CHANNELS, generator=generator)
    reference = descriptors(places)

    def astray(weight: float) -> int:
        masks = (target_mask, reference_mask)
        found = solved((target, reference), GRID, masks, Constraints(outlined(*masks)), global_affine_weight=weight)
        return int(((places[found.index] - true)[target_mask].norm(dim=-1) > 2.0).sum())

    assert astray(1.0) < astray(0.0) / 2


def test_nothing_is_asked_of_a_figure_that_fills_the_picture() -> None:
    everything = torch.ones(GRID[0] * GRID[1], dtype=torch.bool)
    places = token_places(GRID, torch.zeros(()))
    target, reference = descriptors(places + 1.0), descriptors(places)
    free, rigid = (
        solved(
            (target, reference),
            GRID,
            (everything, everything),
            Constraints(outlined(everything, everything)),
            global_affine_weight=weight,
        )
        for weight in (0.0, 5.0)
    )
    assert torch.equal(free.index, rigid.index)
