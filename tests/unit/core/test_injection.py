import pytest
import torch

from core.images.geometry import token_grid
from core.injection import FeatureInjection, InjectedRegion, Injection
from core.matching.correspondence import TokenMap
from core.matching.warp import rearrange_picture
from core.sampling.trajectory import masked_adain, move_towards


def identity(grid: tuple[int, int]) -> TokenMap:
    tokens = grid[0] * grid[1]
    return TokenMap(grid, torch.arange(tokens), torch.ones(tokens))


def test_the_identity_map_leaves_a_latent_unchanged() -> None:
    latent = torch.randn(4, 8, 12)
    moved = rearrange_picture(latent, identity((4, 6)), torch.ones(8, 12))
    torch.testing.assert_close(moved, latent, rtol=0, atol=1e-5)


def test_moving_towards_honours_strength_and_soft_weights() -> None:
    clean, rearranged = torch.zeros(1, 1, 1, 3), torch.ones(1, 1, 1, 3)
    moved = move_towards(clean, rearranged, 0.5, torch.tensor([[0.0, 0.5, 1.0]]))
    assert moved.flatten().tolist() == [0.0, 0.25, 0.5]


@pytest.mark.parametrize("halves", [1, 2])
def test_one_map_from_the_conditional_half_serves_every_half(halves: int) -> None:
    generator = torch.Generator().manual_seed(0)
    output, reference, structure = torch.randn(3, halves, 16, 5, generator=generator)
    permutation = torch.randperm(16, generator=generator)
    reference[-1] = output[-1][permutation]
    features = torch.stack([output, reference, structure], dim=1).flatten(0, 1)
    mask = torch.ones(8, 8)
    injection = FeatureInjection([InjectedRegion(mask, mask)])
    injection.mode = Injection.MATCHED
    edited = injection("layer", features).unflatten(0, (halves, 3))
    where = torch.argsort(permutation)
    for half in range(halves):
        assert torch.equal(edited[half, 0], reference[half][where])
        assert torch.equal(edited[half, 1], reference[half])
        assert torch.equal(edited[half, 2], structure[half])
    (found,) = injection.last_maps
    assert found is not None
    assert torch.equal(found.index, where)


def test_tokens_outside_the_target_mask_keep_their_own_features() -> None:
    target_mask = torch.zeros(8, 8)
    target_mask[:4] = 1.0
    injection = FeatureInjection([InjectedRegion(target_mask, torch.ones(8, 8))])
    for mode, rows in ((Injection.MATCHED, 3), (Injection.STRUCTURE, 2)):
        injection.mode = mode
        features = torch.randn(rows, 16, 5)
        edited = injection("layer", features)
        assert torch.equal(edited[0, 8:], features[0, 8:])
        assert not torch.equal(edited[0, :8], features[0, :8])
        assert torch.equal(edited[1:], features[1:])


def test_a_fixed_map_is_used_on_every_grid() -> None:
    fixed = TokenMap((2, 2), torch.tensor([3, 3, 3, 3]), torch.ones(4))
    injection = FeatureInjection([InjectedRegion(torch.ones(8, 8), torch.ones(8, 8), fixed)])
    injection.mode = Injection.MATCHED
    features = torch.randn(3, 16, 5)
    edited = injection("layer", features)
    assert torch.equal(edited[0], features[1][fixed.resized((4, 4)).index])
    assert injection.last_maps == [fixed]


def test_tokens_that_do_not_tile_the_latent_are_a_bug() -> None:
    assert token_grid((16, 24), 96) == (8, 12)
    with pytest.raises(AssertionError, match="do not tile"):
        token_grid((16, 24), 97)


def test_adain_gives_the_content_the_styles_moments_inside_the_masks() -> None:
    content, style = torch.randn(1, 4, 8, 8), 3.0 * torch.randn(1, 4, 8, 8) + 5.0
    content_mask, style_mask = torch.zeros(8, 8), torch.zeros(8, 8)
    content_mask[:4], style_mask[:, 2:] = 1.0, 1.0
    result = masked_adain(content, style, content_mask, style_mask)
    inside, outside = result[..., :4, :], result[..., 4:, :]
    assert torch.equal(outside, content[..., 4:, :])
    expected = style[..., 2:]
    torch.testing.assert_close(inside.mean((-2, -1)), expected.mean((-2, -1)), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(
        inside.var((-2, -1), correction=0), expected.var((-2, -1), correction=0), rtol=1e-3, atol=1e-3
    )


def test_adain_with_oneself_is_the_identity() -> None:
    latent, mask = torch.randn(1, 4, 6, 6), torch.rand(6, 6)
    torch.testing.assert_close(masked_adain(latent, latent, mask, mask), latent, rtol=0, atol=1e-4)


@pytest.mark.parametrize("strength", [0.0, 0.3, 1.0])
def test_adain_goes_as_far_as_it_is_told(strength: float) -> None:
    content, style = torch.randn(2, 1, 4, 8, 8)
    mask = torch.ones(8, 8)
    whole = masked_adain(content, style, mask, mask)
    torch.testing.assert_close(masked_adain(content, style, mask, mask, strength), torch.lerp(content, whole, strength))
