"""Rearrangement: giving every place of the output what its counterpart in the reference has.

One correspondence, several levels. Feature injection (the paper, section 3.2) rearranges the input of self-attention
layers. The clean latent is rearranged because the first alone barely moves colour in SDXL's layout, where no attention
sees the latent's own resolution and skip connections carry the target's colours past it.
"""

from enum import Enum, auto

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from core.flow import dense_flow
from core.match import TokenMap, match_tokens, token_mask
from core.patch import AttentionInput

Latent = Float[Tensor, "1 channels height width"]
Picture = Float[Tensor, "channels height width"]
Mask = Float[Tensor, "height width"]
Rows = Float[Tensor, "halves tokens channels"]
"""One row of the batch, once per guidance half."""


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
    the injected features; tokens outside the target mask keep their own. `strength` says how far matched features
    replace a token's own, `F + s (F_ref[c] - F)`.
    """

    def __init__(
        self, target_mask: Mask, reference_mask: Mask, fixed_map: TokenMap | None, *, strength: float = 1.0
    ) -> None:
        self._latent_size = (target_mask.shape[0], target_mask.shape[1])
        self._target_mask = target_mask
        self._reference_mask = reference_mask
        self._fixed_map = fixed_map
        self._strength = strength
        self.mode = Injection.NONE
        self.last_map: TokenMap | None = fixed_map
        """The newest correspondence on the finest grid that was matched."""

    def __call__(self, layer: str, features: AttentionInput) -> AttentionInput:
        if self.mode is Injection.NONE:
            return features
        output, source, structure = self.rows(features)
        if self.mode is Injection.STRUCTURE:
            return self.join(output, structure, source, structure)
        matches = self._map(self._grid(features), output[-1], source[-1])
        return self.join(output, source[:, matches.index], source, structure)

    def rows(self, features: AttentionInput) -> tuple[Rows, Rows, Rows]:
        """Output, the row that it takes from, and structure; the last two are one while STRUCTURE."""
        if self.mode is Injection.MATCHED:
            output, reference, structure = features.unflatten(0, (-1, 3)).unbind(1)
            return output, reference, structure
        output, structure = features.unflatten(0, (-1, 2)).unbind(1)
        return output, structure, structure

    def join(self, output: Rows, taken: Rows, source: Rows, structure: Rows) -> AttentionInput:
        """The batch again, the output row having `taken` inside the target mask."""
        if self.mode is Injection.MATCHED:
            taken = torch.lerp(output, taken, self._strength)
        edited = torch.where(self.inside(output)[:, None], taken, output)
        rows = [edited, source, structure] if self.mode is Injection.MATCHED else [edited, structure]
        return torch.stack(rows, dim=1).flatten(0, 1)

    def inside(self, features: AttentionInput) -> Bool[Tensor, " tokens"]:
        """Tokens inside the target mask."""
        return token_mask(self._target_mask, self._grid(features))

    def source_inside(self, features: AttentionInput) -> Bool[Tensor, " tokens"]:
        """Tokens of the row that the output takes from that may be taken."""
        mask = self._reference_mask if self.mode is Injection.MATCHED else self._target_mask
        return token_mask(mask, self._grid(features))

    def _grid(self, features: AttentionInput) -> tuple[int, int]:
        return token_grid(self._latent_size, features.shape[1])

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
