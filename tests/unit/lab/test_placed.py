"""What the small models are shown: windows onto scenes, with labels that belong to what they show."""

import numpy as np
import pytest
import torch

from lab.scenes import PART_ID
from lab.train.dataset import SceneSet
from lab.train.placed import MEAN, PATCH, SPREAD, PlacedScenes, category_of
from lab.train.surface import HELD_OUT

SIDE = 128


def chart(count: int) -> SceneSet:
    """Scenes that show, as colours and as labels alike, where in them a pixel lies; every second one is a flower."""
    y, x = np.mgrid[:SIDE, :SIDE]
    disc = np.hypot(x - 70, y - 60) < 30
    image = np.stack([2 * x, 2 * y, 255 * disc], axis=-1).astype(np.uint8)
    uv = np.stack([x - 64, y - 64], axis=-1).astype(np.int8)
    names = ("body", HELD_OUT[0])
    parts = np.stack([np.where(disc, PART_ID[names[number % 2]], 0).astype(np.uint8) for number in range(count)])
    captions = [("a photo of a bird", "a flower with red petals")[number % 2] for number in range(count)]
    return SceneSet(np.stack([image] * count), parts, np.stack([uv] * count), captions)


def test_labels_are_those_of_the_pixels_shown() -> None:
    batch = PlacedScenes(chart(4), seed=1, held_out=HELD_OUT).draw(0, 12)
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


def test_the_held_out_category_is_drawn_where_it_is_wanted_alone() -> None:
    for held_out, drawn in (((), {"body", "petals"}), (HELD_OUT, {"body"})):
        batch = PlacedScenes(chart(4), seed=1, held_out=held_out).draw(0, 6)
        assert {int(part) for part in batch.parts.unique()} == {0, *(PART_ID[name] for name in drawn)}
        again = PlacedScenes(chart(4), seed=1, held_out=held_out).draw(0, 6)
        assert torch.equal(batch.pictures, again.pictures), "a step's batch is always the same"


@pytest.mark.parametrize("caption", ["a car with red wheels on a flat blue background", "a photo of a car"])
def test_a_caption_names_its_category(caption: str) -> None:
    assert category_of(caption) == "car"
