"""Examples and losses of the network of salient objects."""

import numpy as np
import pytest
import torch
from PIL import Image

from core.models.efficientnet_lite import EfficientNetLite
from core.models.salient import Decoder
from lab.train.salient.composites import Masked, Sources, cropped, draw_example
from lab.train.salient.examples import Store
from lab.train.salient.figures import Figure, Floats, drawn_figures, from_picture, refill
from lab.train.salient.learn import loss_of, structure_loss

SIDE = 64


def ground() -> Floats:
    return np.random.default_rng(0).uniform(0.4, 0.6, (3, 96, 128)).astype(np.float32)


def disc() -> Figure:
    y, x = np.mgrid[:80, :80]
    alpha = (np.hypot(y - 40, x - 40) < 36).astype(np.float32)
    return Figure(np.full((3, 80, 80), 0.9, np.float32), alpha)


def sources(things: list[Masked] | None = None) -> Sources:
    return Sources(([disc()],), (1.0,), [ground()], things or [])


def test_equal_seeds_make_equal_examples_of_the_size_asked_for() -> None:
    first, second = (draw_example(sources(), SIDE, np.random.default_rng(5)) for _ in range(2))
    assert (first.picture.shape, first.mask.shape) == ((SIDE, SIDE, 3), (SIDE, SIDE))
    assert np.array_equal(first.picture, second.picture)
    assert np.array_equal(first.mask, second.mask)


def test_most_examples_show_a_thing_and_some_show_none() -> None:
    rng = np.random.default_rng(1)
    shown = [draw_example(sources(), SIDE, rng).mask.max() > 127 for _ in range(120)]
    assert 0.85 < np.mean(shown) < 1.0


def test_a_crop_of_a_photograph_keeps_its_thing() -> None:
    mask = np.zeros((60, 90), np.uint8)
    mask[20:40, 30:70] = 255
    picture = np.where(mask[..., None] > 0, 250, 5).astype(np.uint8).repeat(3, axis=2)
    rng = np.random.default_rng(2)
    for _ in range(20):
        example = cropped(Masked(picture, mask), SIDE, rng)
        inside = example.mask > 250
        assert inside.any()
        assert example.picture[inside].mean() > example.picture[example.mask < 5].mean() + 50


def test_figures_are_cut_to_their_outline() -> None:
    picture = Image.new("RGBA", (100, 100))
    picture.paste((200, 20, 20, 255), (30, 40, 90, 80))
    figure = from_picture(picture)
    assert figure is not None
    assert figure.alpha.shape == (40, 60)
    assert from_picture(Image.new("RGBA", (100, 100))) is None
    filled = refill(figure, np.full((3, 40, 60), 0.25, np.float32), keep=0.0)
    assert np.allclose(filled.colours, 0.25)
    assert all(one.alpha.max() > 0.99 for one in drawn_figures(2))


def test_the_loss_is_least_at_the_truth() -> None:
    truth = torch.zeros(2, 1, 32, 32)
    truth[0, :, 8:24, 8:24] = 1.0
    right, wrong, unsure = (float(structure_loss(20.0 * sign * (truth - 0.5), truth)) for sign in (1.0, -1.0, 0.0))
    assert right < 0.05 < unsure < wrong


@pytest.mark.parametrize("fine", [False, True])
def test_the_decoder_learns_what_it_is_shown(fine: bool) -> None:
    torch.manual_seed(0)
    rng = np.random.default_rng(3)
    store = Store(EfficientNetLite().eval(), 6)
    store.add([draw_example(sources(), SIDE, rng) for _ in range(8)])
    assert len(store) == 6
    decoder, batch = Decoder(), store.draw(4, rng)
    optimizer = torch.optim.AdamW(decoder.parameters(), lr=3e-3)
    losses = []
    for _ in range(30):
        loss = loss_of(decoder, batch, fine=fine)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.85 * losses[0]
