"""Pictures as vision models want them: by hand, against the arithmetic that the processors replace, and against the
processors of transformers as they are."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import SamImageProcessorPil, ViTImageProcessorPil

from core.models import part_classifier, segmenters
from core.models.preprocessing import (
    ClipProcessor,
    ClipSegProcessor,
    FloatResize,
    PreparedPicture,
    Sam2Processor,
    SamProcessor,
    prepare,
)
from core.models.segmenters import Segmenter
from tests.tiny_segmenters import SAM_PICTURES, tiny_sam, tiny_segmenter, tiny_text_segmenter
from tests.tiny_vision import tiny_part_finder

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
VALUES = {"image_mean": list(MEAN), "image_std": list(STD), "resample": 2}
LEAST_DB = 60.0


def picture(height: int, width: int) -> Tensor:
    """Values of 8 bits, as pictures of users have them."""
    levels = torch.randint(0, 256, (3, height, width), generator=torch.Generator().manual_seed(0))
    return levels.float() / 255.0


def psnr(found: Tensor, expected: Tensor, peak: float = 1.0) -> float:
    """Decibels."""
    return float(10.0 * torch.log10(peak**2 / (found - expected).square().mean().clamp_min(1e-30)))


def by_torch(processor: FloatResize, image: Tensor, size: Mapping[str, int] | None = None, **_: Any) -> PreparedPicture:
    """The arithmetic before the processors: antialiased interpolation of floats, `(x - mean) / std`, zeros around."""
    wanted = dict(size or processor.size)
    if longest := wanted.get("longest_edge"):
        scale = longest / max(image.shape[1:])
        inner = (int(image.shape[1] * scale + 0.5), int(image.shape[2] * scale + 0.5))
        outer = (longest, longest)
    else:
        inner = outer = (wanted["height"], wanted["width"])
    mode = "bicubic" if processor.resample == 3 else "bilinear"
    pixels = F.interpolate(image[None], size=inner, mode=mode, align_corners=False, antialias=True).clamp(0.0, 1.0)
    mean, std = (torch.tensor(list(values))[:, None, None] for values in (processor.image_mean, processor.image_std))
    return PreparedPicture(F.pad((pixels - mean) / std, (0, outer[1] - inner[1], 0, outer[0] - inner[0])), inner)


def test_values_are_those_of_the_formula() -> None:
    processor = Sam2Processor(size={"height": 2, "width": 2}, image_mean=[0.5, 0.25, 0.0], image_std=[0.5, 0.25, 2.0])
    pixels = prepare(processor, torch.tensor([1.0, 0.5, 0.5])[:, None, None].expand(3, 4, 8)).pixels
    # (1 - .5) / .5, (.5 - .25) / .25, (.5 - 0) / 2
    assert torch.allclose(pixels, torch.tensor([1.0, 1.0, 0.25])[None, :, None, None].expand(1, 3, 2, 2))


def test_a_kept_aspect_is_padded_with_zeros_after_normalising() -> None:
    grey = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    processor = SamProcessor(size={"longest_edge": 4}, pad_size={"height": 4, "width": 4}, **grey)
    prepared = prepare(processor, torch.ones(3, 3, 6))
    assert prepared.inner_size == (2, 4)
    assert torch.equal(prepared.pixels[0, 0], torch.tensor([[1.0] * 4, [1.0] * 4, [0.0] * 4, [0.0] * 4]))


def test_pure_black_and_white_is_averaged_to_grey() -> None:
    """Pillow processors guess whether values end at 1 or at 255; such a picture fits both."""
    stripes = torch.tensor([0.0, 1.0]).repeat(8).expand(3, 16, 16)
    pixels = prepare(ClipSegProcessor(**{**VALUES, "size": 8}), stripes).pixels
    grey = (0.5 - torch.tensor(MEAN)) / torch.tensor(STD)
    assert torch.allclose(pixels[..., 1:-1], grey[None, :, None, None].expand(1, 3, 8, 6), atol=1e-6)


def test_a_map_comes_back_to_where_it_was_seen() -> None:
    """Left half on, in a wide picture: the padding below is cut away before the map is stretched back."""
    prepared = PreparedPicture(torch.zeros(1, 3, 8, 8), (4, 8))
    seen = torch.zeros(1, 4, 4)
    seen[:, :2, :2] = 1.0  # rows 2 and 3 are padding
    back = prepared.restore(seen, (10, 20))[0]
    assert back.shape == (10, 20)
    assert back[:6, :5].min() > 0.99  # the last rows lie beside the padding
    assert back[:, 15:].max() < 0.01
    assert torch.allclose(back[:6, 9:11].mean(), torch.tensor(0.5), atol=1e-5)


@pytest.mark.parametrize("size", [(30, 50), (64, 64), (90, 50), (201, 300), (700, 500)])
@pytest.mark.parametrize(
    "processor",
    [
        SamProcessor(**SAM_PICTURES),
        Sam2Processor(**{**VALUES, "size": {"height": 64, "width": 64}}),
        ClipSegProcessor(**{**VALUES, "size": {"height": 352, "width": 352}}),
        ClipProcessor(**{**VALUES, "size": {"height": 48, "width": 80}, "resample": 3}, do_center_crop=False),
    ],
    ids=lambda processor: type(processor).__name__,
)
def test_pixels_are_those_of_the_arithmetic_that_the_processors_replace(
    processor: FloatResize, size: tuple[int, int]
) -> None:
    found, expected = prepare(processor, picture(*size)), by_torch(processor, picture(*size))
    assert found.inner_size == expected.inner_size
    assert psnr(found.pixels, expected.pixels, peak=1.0 / max(STD)) > 100.0


def outline(image: Tensor) -> Tensor:
    return tiny_segmenter().outline(image, box=(0.1, 0.2, 0.7, 0.8))


def outline_in_a_padded_square(image: Tensor) -> Tensor:
    return Segmenter(tiny_sam(), SamProcessor(**SAM_PICTURES)).outline(image, box=None, points=[(0.3, 0.4)])


def found_text(image: Tensor) -> Tensor:
    return tiny_text_segmenter().find(image, "wing")


def part_shares(image: Tensor) -> Tensor:
    return tiny_part_finder().shares(image, ["wing", "tail"], (12, 16))


@pytest.mark.parametrize("look", [outline, outline_in_a_padded_square, found_text, part_shares])
@pytest.mark.parametrize("size", [(30, 50), (200, 300)])
def test_masks_and_parts_are_those_of_the_arithmetic_that_the_processors_replace(
    monkeypatch: pytest.MonkeyPatch, look: Callable[[Tensor], Tensor], size: tuple[int, int]
) -> None:
    found = look(picture(*size))
    for module in (segmenters, part_classifier):
        monkeypatch.setattr(module, "prepare", by_torch)
    expected = look(picture(*size))
    contrast = float(expected.max() - expected.min())
    assert contrast > 0.01
    assert psnr(found, expected, peak=contrast) > LEAST_DB


@pytest.mark.parametrize("size", [(50, 90), (90, 50), (40, 40)])
@pytest.mark.parametrize(
    ("ours", "theirs", "values"),
    [
        (SamProcessor, SamImageProcessorPil, SAM_PICTURES),
        (ClipSegProcessor, ViTImageProcessorPil, {**VALUES, "size": {"height": 32, "width": 32}}),
    ],
)
def test_the_processors_of_transformers_differ_by_their_rounding_only(
    ours: Any, theirs: Any, values: dict[str, Any], size: tuple[int, int]
) -> None:
    image = picture(*size)
    levels = (image * 255.0).round().to(torch.uint8).numpy()
    expected = theirs(**values)(images=levels, input_data_format="channels_first", return_tensors="pt").pixel_values
    # They round to 8 bit after each direction of the resizing.
    assert (prepare(ours(**values), image).pixels - expected).abs().max() < 1.01 / 255 / min(STD)
