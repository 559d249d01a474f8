"""Masks from places and from words, by frozen segmentation models that a worker may load beside SDXL.

Segment Anything (Kirillov et al., arXiv 2304.02643; HQ, arXiv 2306.01567; SAM 2, arXiv 2408.00714) and CLIPSeg
(Lüddecke and Ecker, arXiv 2112.10003). Their probabilities become weights with a short ramp around one half, so that
the outline is as soft as the model's, and unlikely places have exactly 0.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import CLIPSegForImageSegmentation, CLIPTokenizer, Sam2Model, SamHQModel, SamModel

from core.models.preprocessing import FloatResize, prepare
from core.params.selection import Box, Place
from core.types import Picture

Weights = Float[Tensor, "height width"]
RAMP = (0.25, 0.75)
"""Probabilities that become weight 0 and weight 1."""


@dataclass(frozen=True, eq=False)
class Segmenter:
    """Finds the thing at a place: SAM, SAM-HQ or SAM 2."""

    model: SamModel | SamHQModel | Sam2Model
    processor: FloatResize

    @torch.no_grad()
    def outline(
        self, picture: Picture, *, box: Box | None, points: Sequence[Place] = (), points_off: Sequence[Place] = ()
    ) -> Weights:
        """Weights 0 to 1 of the picture's size: the thing in `box`, at `points` and not at `points_off`.

        A single point may mean a part or the whole: of the model's three readings the one is taken that it trusts most.
        """
        size = (picture.shape[1], picture.shape[2])
        prepared = prepare(self.processor, picture)
        height, width = prepared.inner_size
        device = self.model.device
        scale = torch.tensor([width, height], dtype=torch.float32, device=device)
        given: dict[str, Tensor] = {}
        if box is not None:
            given["input_boxes"] = (torch.tensor(box, device=device).view(2, 2) * scale).view(1, 1, 4)
        if places := [*points, *points_off]:
            labels = [1] * len(points) + [0] * len(points_off)
            given["input_points"] = (torch.tensor(places, device=device) * scale)[None, None]
            given["input_labels"] = torch.tensor(labels, device=device)[None, None]
        output = self.model(
            pixel_values=prepared.pixels.to(device),
            multimask_output=box is None and len(places) == 1,
            **given,
        )
        best = int(output.iou_scores[0, 0].argmax())
        logits = prepared.restore(output.pred_masks[0, 0, best][None], size)[0]
        return soft_weights(logits).to(picture.device)


@dataclass(frozen=True, eq=False)
class TextSegmenter:
    """Finds what a word names: CLIPSeg."""

    model: CLIPSegForImageSegmentation
    tokenizer: CLIPTokenizer
    processor: FloatResize

    @torch.no_grad()
    def find(self, picture: Picture, text: str) -> Weights:
        """Weights 0 to 1 of the picture's size, all 0 where nothing fits the text. Longer texts are cut."""
        device = self.model.device
        prepared = prepare(self.processor, picture)
        longest = int(self.model.config.text_config.max_position_embeddings)
        tokens = self.tokenizer(text, truncation=True, max_length=longest, return_tensors="pt").to(device)
        output = self.model(
            input_ids=tokens.input_ids,
            attention_mask=tokens.attention_mask,
            pixel_values=prepared.pixels.to(device),
        )
        logits = prepared.restore(output.logits, (picture.shape[1], picture.shape[2]))[0]
        return soft_weights(logits).to(picture.device)


def soft_weights(logits: Weights) -> Weights:
    """0 where the model thinks it unlikely, 1 where likely, a ramp between."""
    low, high = RAMP
    return ((torch.sigmoid(logits.float()) - low) / (high - low)).clamp(0.0, 1.0)
