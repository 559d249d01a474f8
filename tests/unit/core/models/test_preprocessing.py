"""Pictures as vision models want them, by hand and against transformers' own processors (those that need no
torchvision)."""

import numpy as np
import pytest
import torch
from transformers.models.sam.image_processing_pil_sam import SamImageProcessorPil
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

from core.models.preprocessing import Recipe

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def test_values_are_those_of_the_formula() -> None:
    recipe = Recipe((2, 2), keep_aspect=False, mean=(0.5, 0.25, 0.0), std=(0.5, 0.25, 2.0))
    pixels = recipe.prepare(torch.tensor([1.0, 0.5, 0.5])[:, None, None].expand(3, 4, 8))
    # (1 - .5) / .5, (.5 - .25) / .25, (.5 - 0) / 2
    assert torch.allclose(pixels, torch.tensor([1.0, 1.0, 0.25])[None, :, None, None].expand(1, 3, 2, 2))


def test_a_kept_aspect_is_padded_with_zeros_after_normalising() -> None:
    recipe = Recipe((4, 4), keep_aspect=True, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    pixels = recipe.prepare(torch.ones(3, 3, 6))
    assert recipe.inner_size(3, 6) == (2, 4)
    assert torch.equal(pixels[0, 0], torch.tensor([[1.0] * 4, [1.0] * 4, [0.0] * 4, [0.0] * 4]))


def test_a_map_comes_back_to_where_it_was_seen() -> None:
    """Left half on, in a wide picture: the padding below is cut away before the map is stretched back."""
    recipe = Recipe((8, 8), keep_aspect=True, mean=MEAN, std=STD)
    seen = torch.zeros(1, 4, 4)
    seen[:, :2, :2] = 1.0  # rows 2 and 3 are padding
    back = recipe.restore(seen, (10, 20))[0]
    assert back.shape == (10, 20)
    assert back[:6, :5].min() > 0.99  # the last rows lie beside the padding
    assert back[:, 15:].max() < 0.01
    assert torch.allclose(back[:6, 9:11].mean(), torch.tensor(0.5), atol=1e-5)


@pytest.mark.parametrize("size", [(50, 90), (90, 50), (40, 40)])
def test_as_the_processor_of_sam_does_it(size: tuple[int, int]) -> None:
    picture = _picture(size)
    theirs = SamImageProcessorPil(size={"longest_edge": 64}, pad_size={"height": 64, "width": 64})
    expected = theirs(images=picture, return_tensors="pt").pixel_values
    recipe = Recipe((64, 64), keep_aspect=True, mean=MEAN, std=STD)
    ours = recipe.prepare(torch.from_numpy(picture).permute(2, 0, 1).float() / 255.0)
    # Theirs rounds to 8 bit after resizing.
    assert (ours - expected).abs().max() < 1.01 / 255 / 0.224


def test_as_the_processor_of_clipseg_does_it() -> None:
    picture = _picture((50, 90))
    theirs = ViTImageProcessorPil(
        size={"height": 32, "width": 32}, image_mean=list(MEAN), image_std=list(STD), resample=2
    )
    expected = theirs(images=picture, return_tensors="pt").pixel_values
    recipe = Recipe((32, 32), keep_aspect=False, mean=MEAN, std=STD)
    ours = recipe.prepare(torch.from_numpy(picture).permute(2, 0, 1).float() / 255.0)
    assert (ours - expected).abs().max() < 1.01 / 255 / 0.224


def _picture(size: tuple[int, int]) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
