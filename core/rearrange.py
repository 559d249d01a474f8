"""Rearrangement: giving every place of the output what its counterpart in the reference has.

One correspondence, several levels. Feature injection (the paper, section 3.2) rearranges the input of self-attention
layers. The clean latent is rearranged because the first alone barely moves colour in SDXL's layout, where no attention
sees the latent's own resolution and skip connections carry the target's colours past it.
"""

from enum import Enum, auto

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from core.flow import dense_flow
from core.match import TokenMap, match_tokens, token_mask
from core.patch import AttentionInput

Latent = Float[Tensor, "1 channels height width"]
Picture = Float[Tensor, "channels height width"]
Mask = Float[Tensor, "height width"]


class Injection(Enum):
    """What the output row's features are replaced by at one step."""

    NONE = auto()
    MATCHED = auto()
    """The reference's features, rearranged by correspondence."""
    STRUCTURE = auto()
    """The structure row's features (the paper's structure re-injection)."""


class FeatureInjection:
    """Feature injection over one sampling run: an `Edit` for `core.patch.patched`, told before every step what to do.

    Expects the rows output, reference, structure while MATCHED, and output, structure otherwise, once per guidance
    half, the conditional half last. The map comes from the conditional half and serves every half. Q, K and V all see
    the injected features; tokens outside the target mask keep their own.
    """

    def __init__(self, target_mask: Mask, reference_mask: Mask, fixed_map: TokenMap | None) -> None:
        self._latent_size = (target_mask.shape[0], target_mask.shape[1])
        self._target_mask = target_mask
        self._reference_mask = reference_mask
        self._fixed_map = fixed_map
        self.mode = Injection.NONE
        self.last_map: TokenMap | None = fixed_map
        """The newest correspondence on the finest grid that was matched."""

    def __call__(self, layer: str, features: AttentionInput) -> AttentionInput:
        if self.mode is Injection.NONE:
            return features
        grid = token_grid(self._latent_size, features.shape[1])
        inside = token_mask(self._target_mask, grid)[:, None]
        if self.mode is Injection.STRUCTURE:
            output, structure = _split(features, rows=2)
            return _join(torch.where(inside, structure, output), structure)
        output, reference, structure = _split(features, rows=3)
        matches = self._map(grid, output[-1], reference[-1])
        return _join(torch.where(inside, reference[:, matches.index], output), reference, structure)

    def _map(
        self,
        grid: tuple[int, int],
        output: Float[Tensor, "tokens channels"],
        reference: Float[Tensor, "tokens channels"],
    ) -> TokenMap:
        if self._fixed_map is not None:
            return self._fixed_map.resized(grid)
        index, similarity = match_tokens(output, reference, token_mask(self._reference_mask, grid))
        matches = TokenMap(grid, index, similarity)
        if self.last_map is None or len(index) >= len(self.last_map.index):
            self.last_map = matches
        return matches


def _split(features: AttentionInput, *, rows: int) -> tuple[Float[Tensor, "halves tokens channels"], ...]:
    parts: tuple[Tensor, ...] = features.unflatten(0, (-1, rows)).unbind(1)
    return parts


def _join(*rows: Float[Tensor, "halves tokens channels"]) -> AttentionInput:
    return torch.stack(rows, dim=1).flatten(0, 1)


def token_grid(latent_size: tuple[int, int], tokens: int) -> tuple[int, int]:
    """Rows and columns of a layer's tokens; the latent's sides are multiples of every layer's downsampling."""
    height, width = latent_size
    factor = round((height * width / tokens) ** 0.5)
    grid = (height // factor, width // factor)
    assert grid[0] * grid[1] == tokens, f"{tokens} tokens do not tile a latent of {height} x {width}"
    return grid


def rearrange_picture(
    reference: Picture, matches: TokenMap, target_mask: Mask, *, guide: Picture | None = None
) -> Picture:
    """The reference's picture, or latent, with every position moved to where it was matched, `x_ref[c(p)]`.

    At the size of `target_mask`. `guide` is the target's picture at that size: borders then follow its edges.
    """
    inside = token_mask(target_mask, matches.grid)
    flow = dense_flow(matches, inside, (target_mask.shape[0], target_mask.shape[1]), guide)
    moved = F.grid_sample(reference[None], flow[None].to(reference.dtype), padding_mode="border", align_corners=False)
    return moved[0]


def move_towards(clean: Latent, rearranged: Latent, strength: float, weight: Mask) -> Latent:
    """`x0 + s w (x0_ref[c] - x0)`: the predicted clean latent drawn towards the rearranged reference."""
    return clean + strength * weight * (rearranged - clean)
