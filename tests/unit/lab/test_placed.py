"""What the small models are shown: windows onto scenes, with labels that belong to what they show."""

import math

import numpy as np
import pytest
import torch

from lab.scenes import PART_ID
from lab.train.dataset import SceneSet
from lab.train.placed import MEAN, PATCH, SPREAD, PlacedScenes, category_of
from lab.train.surface import HELD_OUT, same_place

SIDE = 128


def chart(count: int) -> SceneSet:
    """Scenes that show, as colours and as labels alike, where in them a pixel lies; every second one is held out."""
    y, x = np.mgrid[:SIDE, :SIDE]
    disc = np.hypot(x - 70, y - 60) < 30
    image = np.stack([2 * x, 2 * y, 255 * disc], axis=-1).astype(np.uint8)
    uv = np.stack([x - 64, y - 64], axis=-1).astype(np.int8)
    names = ("body", HELD_OUT[0])
    parts = np.stack([np.where(disc, PART_ID[names[number % 2]], 0).astype(np.uint8) for number in range(count)])
    captions = [("a photo of a bird", "a flower with red petals")[number % 2] for number in range(count)]
    return SceneSet(np.stack([image] * count), parts, np.stack([uv] * count), captions)


def test_labels_are_those_of_the_pixels_shown() -> None:
    batch = PlacedScenes(chart(4), seed=1).draw(0, 12)
    colours = (batch.pictures * SPREAD + MEAN) * 255.0
    corner = PATCH // 2 - 1  # a patch's centre lies between four pixels
    centres = torch.nn.functional.avg_pool2d(colours[:, :, corner:, corner:], 2, stride=PATCH).flatten(2)
    seen = centres[:, :2].transpose(1, 2) / 2.0
    inside = batch.parts > 0
    clear = inside & (centres[:, 2] > 250)
    labelled = batch.uv * 100.0 + 64.0
    assert int(clear.sum()) > 12 * 40, "the figure fills its windows"
    assert float((seen - labelled)[clear].abs().max()) < 2.0
    assert bool((centres[:, 2][~inside] < 250).all())
    assert len({tuple(row.tolist()) for row in batch.parts}) == 12, "every window is another"
    assert {int(part) for part in batch.parts.unique()} == {0, PART_ID["body"]}


def test_the_held_out_category_is_seen_twice_and_without_labels() -> None:
    source = PlacedScenes(chart(4), seed=1)
    views = source.draw_twice(0, 3)
    assert views is not None
    for view in views:
        x, y = (view.places * SIDE).unbind(-1)
        away = torch.hypot(x - 70.5, y - 60.5)
        assert bool(view.figure[away < 28].all())
        assert not bool(view.figure[away > 32].any())
    assert not torch.equal(views[0].places, views[1].places)
    assert not torch.equal(views[0].pictures, views[1].pictures)
    again = source.draw_twice(0, 3)
    assert again is not None
    assert torch.equal(views[0].pictures, again[0].pictures), "a step's batch is always the same"


def test_a_set_without_the_held_out_category_has_no_views() -> None:
    whole = chart(4)
    birds = SceneSet(whole.images[::2], whole.parts[::2], whole.uv[::2], whole.captions[::2])
    assert PlacedScenes(birds, seed=1).draw_twice(0, 3) is None


def test_places_are_found_again_by_features_that_know_them() -> None:
    generator = torch.Generator().manual_seed(0)
    here, there = (torch.rand(2, 200, 2, generator=generator) for _ in range(2))
    figure = torch.ones(2, 200, dtype=torch.bool)

    def knowing(places: torch.Tensor) -> torch.Tensor:
        angle = places @ torch.randn(2, 32, generator=torch.Generator().manual_seed(1)) * 8.0
        return torch.cat([angle.sin(), angle.cos()], dim=-1)

    def loss(there_tokens: torch.Tensor) -> float:
        return float(same_place((knowing(here), there_tokens), (here, there), (figure, figure), reach=0.04))

    turned_over = there * torch.tensor([-1.0, 1.0]) + torch.tensor([1.0, 0.0])
    assert loss(knowing(there)) < 0.7 * math.log(200)
    assert loss(knowing(turned_over)) > 2.0 * loss(knowing(there))
    nothing = torch.zeros_like(figure)
    assert float(same_place((knowing(here), knowing(there)), (here, there), (figure, nothing), reach=0.04)) == 0.0


@pytest.mark.parametrize("caption", ["a car with red wheels on a flat blue background", "a photo of a car"])
def test_a_caption_names_its_category(caption: str) -> None:
    assert category_of(caption) == "car"
