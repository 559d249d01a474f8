"""Sizes, alpha and masks; colours continued beyond a mask."""

import pytest
import torch

from core.errors import EmptyMaskError, ShapeError
from core.images.canvas import (
    MATTE,
    crop_canvas,
    cut,
    extrapolate,
    feather,
    figure_window,
    fit_canvas,
    pull_push,
    stretch_canvas,
    working_size,
)
from core.images.geometry import CROP_FILL, MAX_MAGNIFICATION, resize

SIDE = 32
MASK = torch.zeros(SIDE, SIDE)
MASK[8:24, 10:22] = 1.0
RED, GREEN = torch.tensor([0.9, 0.1, 0.1])[:, None, None], torch.tensor([0.1, 0.9, 0.1])[:, None, None]


@pytest.mark.parametrize(
    ("height", "width", "expected"),
    [
        (1024, 1024, (1024, 1024)),
        (512, 512, (1024, 1024)),
        (1080, 1920, (768, 1376)),
        (1618, 1080, (1248, 832)),
        (100, 4000, (160, 6464)),
        (4000, 20, (14496, 64)),
    ],
)
def test_the_working_size_keeps_area_and_aspect_ratio(height: int, width: int, expected: tuple[int, int]) -> None:
    size = working_size(height, width, resolution=1024, multiple=32)
    assert size == expected
    assert size[0] % 32 == size[1] % 32 == 0


@pytest.mark.parametrize("shape", [(600, 800), (801, 333), (512, 512), (1200, 1618)])
def test_ordinary_pictures_are_distorted_by_less_than_two_percent(shape: tuple[int, int]) -> None:
    height, width = working_size(*shape, resolution=1024, multiple=32)
    assert abs((width / height) / (shape[1] / shape[0]) - 1.0) < 0.02


def test_the_reference_is_fitted_whole_and_its_surroundings_take_no_part() -> None:
    tall = torch.rand(3, 200, 50)
    fitted = fit_canvas(tall, None, (64, 96))
    assert fitted.picture.shape == (3, 64, 96)
    assert fitted.box == (40 / 96, 0.0, 16 / 96, 1.0)
    assert torch.equal(fitted.picture[:, :, 40:56], resize(tall, (64, 16)))
    torch.testing.assert_close(fitted.mask[:, 40:56], torch.ones(64, 16))
    assert fitted.mask[:, :40].eq(0).all()
    assert fitted.mask[:, 56:].eq(0).all()
    assert torch.equal(fitted.picture[:, :, 0], fitted.picture[:, :, 40])


def test_alpha_is_the_mask_and_what_it_hides_never_shows() -> None:
    image = torch.rand(4, 32, 32)
    image[3] = 0.0
    image[3, 8:24, 8:24] = 1.0
    seen = stretch_canvas(image, None, (32, 32))
    assert torch.equal(seen.mask, image[3])
    assert seen.picture[:, 0, 0].eq(MATTE).all()
    uploaded = torch.ones(32, 32)
    assert torch.equal(stretch_canvas(image, uploaded, (32, 32)).mask, image[3])


def test_masks_that_select_nothing_are_refused() -> None:
    with pytest.raises(EmptyMaskError, match="target"):
        stretch_canvas(torch.rand(3, 32, 32), torch.zeros(32, 32), (32, 32))
    with pytest.raises(EmptyMaskError, match="reference"):
        fit_canvas(torch.cat([torch.rand(3, 32, 32), torch.zeros(1, 32, 32)]), None, (32, 32))


@pytest.mark.parametrize(
    ("image", "mask", "message"),
    [
        (torch.rand(1, 32, 32), None, "1 channels"),
        (torch.rand(3, 4, 32), None, "32 x 4"),
        (torch.rand(3, 32, 32), torch.ones(32, 31), "mask is 31 x 32"),
    ],
)
def test_shapes_that_cannot_be_worked_with_are_refused(
    image: torch.Tensor, mask: torch.Tensor | None, message: str
) -> None:
    with pytest.raises(ShapeError, match=message):
        stretch_canvas(image, mask, (32, 32))


def test_a_cropped_canvas_shows_the_figure_and_its_box_tells_where_the_picture_lies() -> None:
    picture = torch.zeros(3, 200, 300)
    picture[0] = (torch.arange(300) + 0.5) / 300
    picture[1] = ((torch.arange(200) + 0.5) / 200)[:, None]
    mask = torch.zeros(200, 300)
    mask[60:140, 100:180] = 1.0
    canvas = crop_canvas(picture, mask, (64, 64), "target")
    left, top, width, height = canvas.box
    assert width > 1.0
    assert height > 1.0
    middles = (torch.arange(64) + 0.5) / 64
    expected = ((middles - left) / width, (middles - top) / height)
    torch.testing.assert_close(canvas.picture[0, 32], expected[0], rtol=0, atol=2e-3)
    torch.testing.assert_close(canvas.picture[1, :, 32], expected[1], rtol=0, atol=2e-3)
    share = float(canvas.mask[32].mean())
    assert share == pytest.approx(CROP_FILL, abs=0.03)


def test_a_window_that_reaches_beyond_the_picture_continues_its_border_without_a_mask() -> None:
    picture, mask = torch.rand(3, 40, 60), torch.zeros(40, 60)
    mask[0:38, 0:30] = 1.0
    left, top, width, height = figure_window(mask > 0.0, (64, 64))
    assert left < 0
    assert top < 0
    patch = cut(picture, left, top, width, height)
    assert torch.equal(patch[:, -top, 0], picture[:, 0, 0])
    assert torch.equal(patch[:, -top : -top + 5, -left : -left + 5], picture[:, :5, :5])
    hidden = cut(torch.ones(1, 40, 60), left, top, width, height, beyond=0.0)[0]
    assert hidden[:, :-left].eq(0).all()
    assert hidden[:-top].eq(0).all()
    assert hidden[-top : -top + 40, -left : -left + 60][:, : width + left].eq(1).all()
    assert crop_canvas(picture, mask, (64, 64), "target").mask[:, 0].max() <= 0.5


def test_a_small_figure_is_magnified_so_far_and_no_further() -> None:
    mask = torch.zeros(500, 500)
    mask[250, 250] = 1.0
    _, _, width, height = figure_window(mask > 0.0, (64, 64))
    assert width == height
    assert 64 / width <= MAX_MAGNIFICATION
    assert 64 / (width - 1) > MAX_MAGNIFICATION


def test_a_mask_of_a_few_pixels_stays_whole_under_a_feather() -> None:
    mask = torch.zeros(300, 300)
    mask[100:104, 200:204] = 1.0
    soft = feather(mask, 3.0)
    assert int((soft > 0.0).sum()) == 16
    assert torch.equal(soft > 0.0, mask > 0.0)


def test_a_thin_line_stays_whole_under_a_feather_and_a_broad_mask_is_softened() -> None:
    line, broad = torch.zeros(200, 200), torch.zeros(200, 200)
    line[100, 20:180] = 1.0
    broad[50:150, 50:150] = 1.0
    assert torch.equal(feather(line, 3.0), line)
    soft = feather(broad, 3.0)
    assert 0.0 < soft[100, 50] < 0.7
    assert soft[100, 60] > 0.999


@pytest.mark.parametrize("width", [0.0, 1.0, 4.0, 50.0])
def test_a_feather_grows_inwards_only_and_keeps_soft_weights(width: float) -> None:
    mask = torch.zeros(40, 40)
    mask[8:32, 8:32] = 1.0
    mask[20, 7] = 0.4
    soft = feather(mask, width)
    assert soft[mask == 0].eq(0).all()
    assert (soft <= mask).all()
    if width <= 4.0:
        assert soft[20, 20] > 0.999
    if width == 0.0:
        assert torch.equal(soft, mask)


def test_resizing_never_leaves_the_range_of_colours() -> None:
    hard = (torch.rand(3, 31, 17) > 0.5).float()
    grown = resize(hard, (64, 64))
    assert grown.min() >= 0.0
    assert grown.max() <= 1.0


def test_what_surrounds_a_figure_and_what_mixes_with_it_is_gone() -> None:
    picture = torch.where(MASK > 0.0, RED, GREEN)
    picture[:, 8, 10:22] = 0.5  # the outermost pixels show both
    torch.testing.assert_close(extrapolate(picture, MASK), RED.expand(3, SIDE, SIDE))


def test_well_inside_nothing_changes_and_every_colour_comes_from_there() -> None:
    picture = torch.rand(3, SIDE, SIDE, generator=torch.Generator().manual_seed(3))
    inside = picture[:, 9:23, 11:21]
    continued = extrapolate(picture, MASK)
    assert torch.equal(continued[:, 9:23, 11:21], inside)
    assert bool((continued.amax((1, 2)) <= inside.amax((1, 2))).all())
    assert bool((continued.amin((1, 2)) >= inside.amin((1, 2))).all())


def test_the_nearest_colours_are_continued() -> None:
    halves = torch.where(torch.arange(SIDE) < SIDE // 2, RED, GREEN).expand(3, SIDE, SIDE)
    continued = extrapolate(torch.where(MASK > 0.0, halves, 0.0), MASK)
    torch.testing.assert_close(continued[:, 8:24, 9], RED[:, :, 0].expand(3, 16), rtol=0.0, atol=0.05)
    torch.testing.assert_close(continued[:, 8:24, 22], GREEN[:, :, 0].expand(3, 16), rtol=0.0, atol=0.05)


@pytest.mark.parametrize("mask", [torch.ones(SIDE, SIDE), torch.eye(SIDE), torch.zeros(SIDE, SIDE)])
def test_without_an_outline_or_an_inside_the_picture_stays(mask: torch.Tensor) -> None:
    picture = torch.rand(3, SIDE, SIDE)
    assert torch.equal(extrapolate(picture, mask), picture)


@pytest.mark.parametrize("size", [(1, 7), (13, 1), (31, 18)])
def test_any_size_is_continued_from_one_pixel(size: tuple[int, int]) -> None:
    known = torch.zeros(1, 1, *size, dtype=torch.bool)
    known[..., 0, 0] = True
    values = torch.rand(1, 2, *size)
    torch.testing.assert_close(pull_push(values, known), values[..., :1, :1].expand_as(values))
