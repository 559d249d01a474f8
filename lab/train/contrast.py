"""The correspondence model's objective: tokens of one place in one part attract each other across pictures.

A supervised contrastive loss (Khosla et al. 2020, arXiv 2004.11362) with soft positives: the weight of a
pair of tokens of the same part falls as a Gaussian with the distance of their canonical coordinates.
"""

import torch
from torch import Tensor
from torch.nn import functional

from lab.scenes import PART_ID, PARTS
from lab.train.surface import HELD_OUT

TEMPERATURE = 0.1
REACH = 0.12
"""Standard deviation, in figure units, of the weight of a positive pair: about two tokens of the finest grid."""
TOKENS_PER_PICTURE = 128


def part_contrast(tokens: Tensor, parts: Tensor, uv: Tensor, generator: torch.Generator) -> Tensor:
    """The loss over a batch.

    `tokens` `[pictures, tokens, channels]`, `parts` `[pictures, tokens]` part ids with 0 for the
    background, `uv` `[pictures, tokens, 2]`. Draws `TOKENS_PER_PICTURE` tokens of every picture, four
    times as many from the figure as from the background as far as there are any.
    """
    held_out = torch.tensor([PART_ID[name] for name in HELD_OUT])
    usable = ~torch.isin(parts, held_out)
    preference = torch.where(parts > 0, 1.0, 0.1) * usable + 1e-6
    chosen = torch.multinomial(preference, min(TOKENS_PER_PICTURE, parts.shape[1]), generator=generator)
    picture = torch.arange(parts.shape[0])[:, None].expand_as(chosen)
    features = tokens[picture, chosen].flatten(0, 1).float()
    weights = _pair_weights(parts[picture, chosen].flatten(), uv[picture, chosen].flatten(0, 1), picture.flatten())
    weights = weights * usable[picture, chosen].flatten()[:, None]
    features = functional.normalize(features - features.mean(dim=0), dim=-1)
    similarity = features @ features.T / TEMPERATURE
    same_picture = picture.flatten()[:, None] == picture.flatten()[None, :]
    log_share = functional.log_softmax(similarity.masked_fill(same_picture, -1e4), dim=-1)
    total = weights.sum(dim=-1)
    anchors = total > 0.1
    if not bool(anchors.any()):
        return similarity.sum() * 0.0
    return -((weights * log_share).sum(dim=-1)[anchors] / total[anchors]).mean()


def _pair_weights(parts: Tensor, uv: Tensor, picture: Tensor) -> Tensor:
    """How positive every pair of tokens is, 0..1: `[tokens, tokens]`; 0 within a picture and for background."""
    scale = torch.tensor([kind.half_size for kind in PARTS])[parts]
    position = uv * scale
    squared = (position[:, None] - position[None, :]).square().sum(dim=-1)
    related = (parts[:, None] == parts[None, :]) & (parts[:, None] > 0) & (picture[:, None] != picture[None, :])
    return torch.exp(-squared / (2.0 * REACH**2)) * related
