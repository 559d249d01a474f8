"""The auxiliary objective: a token's features encode where on the figure it is.

Continuous surface embeddings (Neverova et al. 2020, arXiv 2011.12438): every place on every part has a learned vector,
and a token is classified, by cosine, as one of them: its own place. The vectors are dropped after training. It acts
on the tokens that enter the decoder's last two self-attentions, with no projection head, because the sampler later
compares exactly those tokens by cosine.
"""

from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn
from torch.nn import functional

from lab.scenes import PART_ID, PARTS

HELD_OUT = ("petals", "centre", "stem", "near leaf", "far leaf", "pot")
"""Flowers stay out of the UNet's loss, so that matching can be reported on a category that it never saw."""
UPRIGHT = ("leg", "leaf", "stem", "pot", "chimney")
"""Parts whose first canonical axis runs up or down, or away from a stem: a mirror turns their second one over."""
PITCH = 0.15
"""Distance of neighbouring places on a part, in figure units: about three tokens of the finest grid."""
REACH = 0.1
"""Standard deviation, in figure units, of the share of places around the true one."""
TEMPERATURE = 0.08


@contextmanager
def captured_tokens(unet: UNet2DConditionModel) -> Iterator[list[Tensor]]:
    """Inside the block, every forward pass appends the `[batch, tokens, channels]` inputs of the last two decoder
    self-attentions to the list."""
    captured: list[Tensor] = []

    def keep(module: torch.nn.Module, arguments: tuple[Any, ...]) -> None:
        captured.append(arguments[0])

    attentions = [block.transformer_blocks[-1].attn1 for block in unet.up_blocks[1].attentions]
    handles = [attention.register_forward_pre_hook(keep) for attention in attentions]
    try:
        yield captured
    finally:
        for handle in handles:
            handle.remove()


def _opposite(name: str) -> str:
    """The part at a figure's other end that looks like the part `name`, or the part itself."""
    for one, other in (("front", "rear"), ("fore", "hind"), ("near leaf", "far leaf")):
        if one in name or other in name:
            return name.replace(one, other) if one in name else name.replace(other, one)
    return name


def _mirrored(parts: Tensor, positions: Tensor) -> Tensor:
    """Positions `[places, 2]` on parts `[places]` as they are on the opposite part, seen from left to right."""
    upright = torch.tensor([any(word in kind.name for word in UPRIGHT) for kind in PARTS])[parts]
    along, across = torch.tensor([-1.0, 1.0]), torch.tensor([1.0, -1.0])
    return positions * torch.where(upright[:, None], across, along)


def _places(pitch: float, held_out: Collection[str]) -> tuple[Tensor, Tensor]:
    """Part ids `[places]` and positions `[places, 2]` in figure units of all places but those on `held_out` parts."""
    parts, positions = [], []
    for index, kind in enumerate(PARTS):
        if index == 0 or kind.name in held_out:
            continue
        counts = [max(1, round(2.0 * half / pitch)) for half in kind.half_size]
        axes = [(np.arange(n) + 0.5) / n * 2.0 - 1.0 for n in counts]
        across, down = np.meshgrid(axes[0] * kind.half_size[0], axes[1] * kind.half_size[1])
        positions.append(np.stack([across.ravel(), down.ravel()], axis=-1))
        parts.append(np.full(across.size, index))
    return torch.from_numpy(np.concatenate(parts)), torch.from_numpy(np.concatenate(positions)).float()


class SurfaceEmbedding(nn.Module):
    """One vector for every place on every part but those `held_out`, for tokens of `channels` channels; places lie
    `pitch` apart, and a token's share spreads by `reach` around its own, both in figure units."""

    part: Tensor
    position: Tensor
    opposite: Tensor
    unused: Tensor
    scale: Tensor

    def __init__(
        self, channels: int, pitch: float = PITCH, reach: float = REACH, held_out: Collection[str] = HELD_OUT
    ) -> None:
        super().__init__()
        self._reach = reach
        part, position = _places(pitch, held_out)
        self.register_buffer("part", part, persistent=False)
        self.register_buffer("position", position, persistent=False)
        counterpart = torch.tensor([PART_ID[_opposite(kind.name)] for kind in PARTS])[part]
        apart = torch.cdist(_mirrored(part, position), position)
        apart = apart.masked_fill(counterpart[:, None] != part, torch.inf)
        self.register_buffer("opposite", apart.argmin(dim=1), persistent=False)
        self.register_buffer("unused", torch.tensor([0, *(PART_ID[name] for name in held_out)]), persistent=False)
        self.register_buffer("scale", torch.tensor([kind.half_size for kind in PARTS]), persistent=False)
        self.vectors = nn.Parameter(torch.randn(len(part), channels) / channels**0.5)

    def forward(self, tokens: Tensor, parts: Tensor, uv: Tensor) -> tuple[Tensor, Tensor]:
        """Two numbers: the cross-entropy of the tokens' places among all places, and that between each token's place
        and its opposite alone: the other end of the part or of its counterpart, as the front wheel for the rear one.
        The second decides which way round the figure is.

        `tokens` `[pictures, tokens, channels]`, `parts` `[pictures, tokens]` part ids with 0 for the background, `uv`
        `[pictures, tokens, 2]`. As in the sampler, the mean over a picture's figure is taken off first.
        """
        features, squared = self._counted_features(tokens, parts, uv)
        if len(features) == 0:
            return tokens.sum() * 0.0, tokens.sum() * 0.0
        logits = features @ functional.normalize(self.vectors, dim=-1).T / TEMPERATURE
        share = functional.softmax(-squared / (2.0 * self._reach**2), dim=-1)
        own = squared.argmin(dim=1, keepdim=True)
        lead = logits.gather(1, own) - logits.gather(1, self.opposite[own])
        return functional.cross_entropy(logits, share), functional.softplus(-lead).mean()

    @torch.no_grad()
    def begin_with(self, seen: Iterable[tuple[Tensor, Tensor, Tensor]]) -> None:
        """Gives every place the mean of the features that tokens, as `forward` takes them, already have there."""
        total = torch.zeros_like(self.vectors)
        for tokens, parts, uv in seen:
            features, squared = self._counted_features(tokens, parts, uv)
            total.index_add_(0, squared.argmin(dim=1), features)
        known = total.norm(dim=1) > 0.0
        self.vectors[known] = functional.normalize(total[known], dim=-1)

    def _counted_features(self, tokens: Tensor, parts: Tensor, uv: Tensor) -> tuple[Tensor, Tensor]:
        """Features `[counted, channels]` of the tokens that count, and their squared distance to every place `[counted,
        places]`, infinite to those on other parts."""
        figure = parts > 0
        counted = figure & ~torch.isin(parts, self.unused)
        weight = figure.to(tokens.dtype)[..., None]
        mean = (tokens * weight).sum(1, keepdim=True) / weight.sum(1, keepdim=True).clamp(min=1.0)
        features = functional.normalize((tokens - mean)[counted], dim=-1)
        here = uv[counted] * self.scale[parts[counted]]
        other = parts[counted][:, None] != self.part[None, :]
        return features, torch.cdist(here, self.position).square().masked_fill(other, torch.inf)
