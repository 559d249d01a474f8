"""Masks from places and words. The networks are real and random: what is checked is what goes in and what is made of
what comes out."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import Sam2Model

from core.models.preprocessing import Sam2Processor, SamProcessor
from core.models.segmenters import Segmenter, soft_weights
from tests.tiny_segmenters import (
    SAM2_PICTURES,
    SAM_PICTURES,
    tiny_sam,
    tiny_sam2,
    tiny_sam_hq,
    tiny_text_segmenter,
)

PICTURE = torch.rand(3, 40, 80, generator=torch.Generator().manual_seed(1))


def echo(monkeypatch: pytest.MonkeyPatch, masks: Tensor, scores: list[float]) -> tuple[Sam2Model, dict[str, Any]]:
    """A model that answers with given logits, and what it is asked."""
    model, asked = tiny_sam2(), {}

    def forward(**given: Any) -> SimpleNamespace:
        asked.update(given)
        return SimpleNamespace(pred_masks=masks[None, None], iou_scores=torch.tensor([[scores]]))

    monkeypatch.setattr(model, "forward", forward)
    return model, asked


def test_places_are_handed_over_in_pixels_of_what_the_model_sees(monkeypatch: pytest.MonkeyPatch) -> None:
    model, asked = echo(monkeypatch, torch.zeros(1, 4, 4), [1.0])
    wide = Segmenter(model, SamProcessor(**SAM_PICTURES))
    wide.outline(PICTURE, box=(0.25, 0.5, 0.75, 1.0), points=[(0.5, 0.5)], points_off=[(1.0, 0.0)])
    # 40 x 80 becomes 32 x 64, so a fraction of the height counts 32 pixels.
    assert asked["input_boxes"].tolist() == [[[16.0, 16.0, 48.0, 32.0]]]
    assert asked["input_points"].tolist() == [[[[32.0, 16.0], [64.0, 0.0]]]]
    assert asked["input_labels"].tolist() == [[[1, 0]]]
    assert asked["multimask_output"] is False


def test_of_several_readings_the_most_trusted_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    masks = torch.stack([torch.full((4, 4), value) for value in (-9.0, 9.0, -9.0)])
    model, asked = echo(monkeypatch, masks, [0.2, 0.9, 0.5])
    found = Segmenter(model, Sam2Processor(**SAM2_PICTURES)).outline(PICTURE, box=None, points=[(0.5, 0.5)])
    assert asked["multimask_output"] is True
    assert torch.equal(found, torch.ones(40, 80))


def test_probabilities_become_weights_with_a_ramp_around_one_half() -> None:
    probability = torch.tensor([[0.1, 0.25, 0.375, 0.5, 0.75, 0.9]])
    weights = soft_weights(torch.logit(probability))
    assert torch.allclose(weights, torch.tensor([[0.0, 0.0, 0.25, 0.5, 1.0, 1.0]]), atol=1e-6)


@pytest.mark.parametrize("kind", [tiny_sam, tiny_sam_hq, tiny_sam2])
def test_every_segment_anything_answers_a_box_and_points(kind: Any) -> None:
    processor = Sam2Processor(**SAM2_PICTURES) if kind is tiny_sam2 else SamProcessor(**SAM_PICTURES)
    segmenter = Segmenter(kind(), processor)
    box = segmenter.outline(PICTURE, box=(0.1, 0.1, 0.6, 0.9))
    point = segmenter.outline(PICTURE, box=None, points=[(0.9, 0.2)])
    for weights in (box, point):
        assert weights.shape == PICTURE.shape[1:]
        assert weights.min() >= 0.0
        assert weights.max() <= 1.0
        assert weights.std() > 0.0
    assert not torch.equal(box, point)


def test_a_text_decides_what_is_found_and_a_long_one_is_cut() -> None:
    segmenter = tiny_text_segmenter()
    found = [segmenter.find(PICTURE, text) for text in ("bird", "a red house", "bird " * 40)]
    assert all(weights.shape == PICTURE.shape[1:] for weights in found)
    assert not torch.equal(found[0], found[1])
    assert segmenter.find(PICTURE, "bird").equal(found[0])
