"""The target's light and shade on the reference's colours."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from core.images.shading import keep_shading, shading_gain

SIDE = 48
Y, X = torch.meshgrid(torch.linspace(0.0, 1.0, SIDE), torch.linspace(0.0, 1.0, SIDE), indexing="ij")
EVERYWHERE = torch.ones(SIDE, SIDE)
ORANGE, BLUE = torch.tensor([0.8, 0.5, 0.2]), torch.tensor([0.2, 0.4, 0.7])
FROM_LEFT, FROM_ABOVE = 0.6 + 0.4 * (1.0 - X), 0.6 + 0.4 * (1.0 - Y)


def lit(colour: Tensor, shade: Tensor) -> Tensor:
    return colour[:, None, None] * shade


def ratio(picture: Tensor, shade: Tensor) -> Tensor:
    """What is left of a picture's lightness beside a shading, over its mean."""
    left = picture.mean(0) / shade
    return left / left.mean()


def test_a_plain_surface_takes_the_targets_light() -> None:
    moved, target = lit(BLUE, FROM_ABOVE), lit(ORANGE, FROM_LEFT)
    result = keep_shading(moved, target, EVERYWHERE)
    before, after = (float((ratio(picture, FROM_LEFT) - 1.0).abs().mean()) for picture in (moved, result))
    assert after < 0.6 * before
    torch.testing.assert_close(result / result.sum(0), moved / moved.sum(0))


def test_equal_shading_and_no_strength_change_nothing() -> None:
    moved, target = lit(BLUE, FROM_LEFT), lit(ORANGE, FROM_LEFT)
    assert float(shading_gain(moved, target, EVERYWHERE).abs().max()) < 0.02
    other = lit(ORANGE, FROM_ABOVE)
    assert keep_shading(moved, other, EVERYWHERE, strength=0.0) is moved
    half, whole = (keep_shading(moved, other, EVERYWHERE, strength=s) for s in (0.5, 1.0))
    torch.testing.assert_close(half.square(), moved * whole)


def test_markings_are_no_shading() -> None:
    """Neither the target's stripes come through nor do the reference's go."""
    stripes = (X * 6.0).floor() % 2.0 > 0.0
    for light, dark in ((ORANGE, BLUE), (torch.full((3,), 0.9), torch.full((3,), 0.15))):
        striped = torch.where(stripes, light[:, None, None], dark[:, None, None])
        plain = lit(torch.tensor([0.3, 0.7, 0.3]), EVERYWHERE)
        for moved, target in ((plain, striped), (striped, plain)):
            torch.testing.assert_close(keep_shading(moved, target, EVERYWHERE), moved, rtol=0.0, atol=0.03)


def test_only_the_masked_is_changed_and_only_by_the_masked() -> None:
    mask = (X < 0.5).float()
    target = torch.where(mask > 0, lit(ORANGE, FROM_ABOVE), torch.rand(3, SIDE, SIDE))
    moved = torch.where(mask > 0, lit(BLUE, FROM_LEFT), torch.rand(3, SIDE, SIDE))
    gain = shading_gain(moved, target, mask)
    assert float(gain[mask == 0].abs().max()) == 0.0
    beyond = torch.where(mask > 0, moved, torch.rand(3, SIDE, SIDE))
    assert torch.equal(shading_gain(beyond, target, mask), gain)


def test_a_large_picture_is_shaded_as_a_small_one() -> None:
    moved, target = (
        torch.nn.functional.interpolate(picture[None], scale_factor=8, mode="bilinear")[0]
        for picture in (lit(BLUE, FROM_ABOVE), lit(ORANGE, FROM_LEFT))
    )
    gain = shading_gain(moved, target, torch.ones(8 * SIDE, 8 * SIDE))
    small = shading_gain(lit(BLUE, FROM_ABOVE), lit(ORANGE, FROM_LEFT), EVERYWHERE)
    shrunk = torch.nn.functional.avg_pool2d(gain[None], 8)[0]
    torch.testing.assert_close(shrunk, small, rtol=0.0, atol=0.03)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31), st.integers(3, 40), st.integers(3, 40))
def test_any_picture_stays_a_picture(seed: int, height: int, width: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    moved, target = torch.rand(2, 3, height, width, generator=generator).round(decimals=1)
    mask = torch.rand(height, width, generator=generator)
    result = keep_shading(moved, target, mask)
    assert bool(torch.isfinite(result).all())
    assert float(result.min()) >= 0.0
    assert float(result.max()) <= 1.0
