"""What the decoder learns by."""

import torch
import torch.nn.functional as F
from torch import Tensor

from core.models.salient import Decoder
from lab.train.salient.examples import Batch

COARSE_WEIGHT = 0.4
EDGE_PX = 15
"""Of the window in which a place differs from the mean of the truth, which makes it count more (F3Net)."""


def loss_of(decoder: Decoder, batch: Batch, *, fine: bool) -> Tensor:
    """Cross-entropy that counts more along outlines, and one minus the soft intersection over union, at 1/8 of the
    pictures' size; with `fine` at 1/2 as well."""
    small = F.interpolate(batch.masks, scale_factor=0.25, mode="area")
    if not fine:
        return structure_loss(decoder.coarse(decoder.eighth(batch.features)), small)
    logits, coarse = decoder(batch.features, batch.half)
    return structure_loss(logits, batch.masks) + COARSE_WEIGHT * structure_loss(coarse, small)


def structure_loss(logits: Tensor, truth: Tensor) -> Tensor:
    """F3Net's loss (arXiv 1911.11445, section 3.4) of logits `[pictures, 1, rows, columns]`; the intersection over
    union counts for pictures that show something."""
    window = min(EDGE_PX, min(truth.shape[2:]) // 2 * 2 - 1)
    weight = 1.0 + 4.0 * (F.avg_pool2d(truth, window, 1, window // 2) - truth).abs()
    entropy = F.binary_cross_entropy_with_logits(logits, truth, reduction="none")
    entropy = (weight * entropy).sum((1, 2, 3)) / weight.sum((1, 2, 3))
    chance = torch.sigmoid(logits)
    both = (weight * chance * truth).sum((1, 2, 3))
    either = (weight * (chance + truth - chance * truth)).sum((1, 2, 3))
    shown = (truth.amax((1, 2, 3)) > 0.5).float()
    return (entropy + shown * (1.0 - (both + 1.0) / (either + 1.0))).mean()
