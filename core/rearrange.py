"""Rearrangement: giving every place of the output what its counterpart in the reference has.

One correspondence, several levels. Feature injection (the paper, section 3.2) rearranges the input of self-attention
layers. The clean latent is rearranged because the first alone barely moves colour in SDXL's layout, where no attention
sees the latent's own resolution and skip connections carry the target's colours past it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum, auto

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from core.flow import dense_flow
from core.match import match_tokens, token_mask
from core.patch import AttentionInput
from core.token_map import TokenMap

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


@dataclass
class InjectedRegion:
    """Part of the target and the reference that it takes from, as one row of the batch sees it."""

    target_mask: Mask
    reference_mask: Mask
    token_map: TokenMap | None = None
    """The correspondence of all layers, where there is one."""
    strength: float = 1.0
    """How far matched features replace a token's own, `F + s (F_ref[c] - F)`."""


Matcher = Callable[[Tensor, Tensor, tuple[int, int], Tensor, Tensor], TokenMap]
"""Takes features of output and reference `[tokens, channels]`, their grid, and which tokens are inside of each."""


def match_plainly(output: Tensor, reference: Tensor, grid: tuple[int, int], inside: Tensor, there: Tensor) -> TokenMap:
    """The paper's own matching: every token for itself."""
    return TokenMap(grid, *match_tokens(output, reference, there))


class FeatureInjection:
    """Feature injection over one sampling run: an `Edit` for `core.patch.patched`, told before every step what to do.

    Expects the rows output, one reference per region, structure while MATCHED, and output, structure otherwise, once
    per guidance half, the conditional half last. The map comes from the conditional half and serves every half. Tokens
    outside the target mask keep their own; where regions meet in a token, the later one has it. Regions without a map
    of all layers are matched in every layer by `match`; without `match` they wait for their map.
    """

    def __init__(self, regions: Sequence[InjectedRegion], *, match: Matcher | None = match_plainly) -> None:
        self.regions = list(regions)
        self._latent_size = (regions[0].target_mask.shape[0], regions[0].target_mask.shape[1])
        self._match = match
        self._by_layer: dict[tuple[str, int], TokenMap] = {}
        self._finest: list[TokenMap | None] = [None] * len(self.regions)
        self.mode = Injection.NONE
        self.rematch = True
        """Whether layers match anew, or use their last map again."""

    @property
    def last_maps(self) -> list[TokenMap | None]:
        """For every region the newest correspondence on the finest grid that was matched."""
        return [region.token_map or finest for region, finest in zip(self.regions, self._finest, strict=True)]

    @property
    def row_count(self) -> int:
        """Rows of the batch that belong to this run, per guidance half, while something is injected."""
        return len(self.regions) + 2 if self.mode is Injection.MATCHED else 2

    def __call__(self, layer: str, features: AttentionInput) -> AttentionInput:
        if self.mode is Injection.NONE:
            return features
        output, sources, structure = self.rows(features)
        if self.mode is Injection.STRUCTURE:
            return self.join(output, sources, sources, structure)
        taken = [self._taken(layer, region, output, source) for region, source in enumerate(sources)]
        return self.join(output, taken, sources, structure)

    def rows(self, features: AttentionInput) -> tuple[Rows, list[Rows], Rows]:
        """Output, for every region the row that it takes from, and structure; the last is all of these while
        STRUCTURE."""
        output, *sources, structure = features.unflatten(0, (-1, self.row_count)).unbind(1)
        return output, sources or [structure] * len(self.regions), structure

    def join(self, output: Rows, taken: Sequence[Rows], sources: Sequence[Rows], structure: Rows) -> AttentionInput:
        """The batch again, the output row having what each region has taken inside that region's mask."""
        matched = self.mode is Injection.MATCHED
        edited = output
        for region, rows in zip(self.regions, taken, strict=True):
            drawn = torch.lerp(output, rows, region.strength) if matched else rows
            edited = torch.where(self.inside(region, output)[:, None], drawn, edited)
        return torch.stack([edited, *(sources if matched else []), structure], dim=1).flatten(0, 1)

    def inside(self, region: InjectedRegion, features: AttentionInput) -> Bool[Tensor, " tokens"]:
        """Tokens inside the region's target mask."""
        return token_mask(region.target_mask, self.grid(features))

    def source_inside(self, region: InjectedRegion, features: AttentionInput) -> Bool[Tensor, " tokens"]:
        """Tokens of the row that the region takes from that may be taken."""
        mask = region.reference_mask if self.mode is Injection.MATCHED else region.target_mask
        return token_mask(mask, self.grid(features))

    def grid(self, features: AttentionInput) -> tuple[int, int]:
        """Rows and columns of a layer's tokens."""
        return token_grid(self._latent_size, features.shape[1])

    def _taken(self, layer: str, region: int, output: Rows, source: Rows) -> Rows:
        """What a region's matches give every token; where a match is doubted, the less of it."""
        matches = self._map(layer, region, output, source)
        return output if matches is None else matches.pick(source, output)

    def _map(self, layer: str, region: int, output: Rows, source: Rows) -> TokenMap | None:
        grid, asked = self.grid(output), self.regions[region]
        if asked.token_map is not None:
            return asked.token_map.resized(grid)
        if self._match is None:
            return None
        known = self._by_layer.get((layer, region))
        if known is not None and not self.rematch:
            return known
        there = token_mask(asked.reference_mask, grid)
        matches = self._match(output[-1], source[-1], grid, self.inside(asked, output), there)
        self._by_layer[layer, region] = matches
        finest = self._finest[region]
        if finest is None or len(matches.index) >= len(finest.index):
            self._finest[region] = matches
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


def believed(matches: TokenMap, mask: Mask) -> Mask:
    """`mask`, and less of it where matches are doubted."""
    if matches.confidence is None:
        return mask
    plane = matches.confidence.unflatten(0, matches.grid)[None, None].to(mask.dtype)
    return mask * F.interpolate(plane, size=mask.shape, mode="bilinear", align_corners=False)[0, 0]


def move_towards(clean: Latent, rearranged: Latent, strength: float, weight: Mask) -> Latent:
    """`x0 + s w (x0_ref[c] - x0)`: the predicted clean latent drawn towards the rearranged reference."""
    return clean + strength * weight * (rearranged - clean)
