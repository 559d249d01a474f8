"""Lightness of one picture in the colours of another."""

import torch

from core.images.color import keep_lightness, to_lab


def test_known_colours_have_their_published_coordinates() -> None:
    """sRGB's primaries and white (Lindbloom's tables, D65)."""
    colours = torch.tensor([[1.0, 0, 0], [0, 1.0, 0], [0, 0, 1.0], [1.0, 1.0, 1.0]]).T[:, None, :]
    lab = to_lab(colours)[:, 0].T
    expected = torch.tensor([[53.24, 80.09, 67.20], [87.73, -86.18, 83.18], [32.30, 79.19, -107.86], [100.0, 0.0, 0.0]])
    torch.testing.assert_close(lab, expected, rtol=0, atol=0.05)


def test_lightness_is_the_one_and_hue_the_other() -> None:
    generator = torch.Generator().manual_seed(0)
    one = torch.rand(3, 24, 24, generator=generator) * 0.8 + 0.1
    other = torch.rand(3, 24, 24, generator=generator)
    mixed = keep_lightness(one, other)
    assert mixed.min() >= 0.0
    assert mixed.max() <= 1.0
    torch.testing.assert_close(to_lab(mixed)[0], to_lab(other)[0], rtol=0, atol=0.2)
    before, after = to_lab(one)[1:], to_lab(mixed)[1:]
    assert (after.norm(dim=0) <= before.norm(dim=0) + 0.2).all()
    strong = after.norm(dim=0) > 5.0
    cosine = torch.nn.functional.cosine_similarity(before, after, dim=0)
    assert cosine[strong].min() > 0.995


def test_a_picture_with_its_own_lightness_is_itself() -> None:
    picture = torch.rand(3, 16, 16, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(keep_lightness(picture, picture), picture, rtol=0, atol=3e-3)
