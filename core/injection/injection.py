"""Rearrangement: giving every place of the output what its counterpart in the reference has.

One correspondence, several levels. Feature injection (the paper, section 3.2) rearranges the input of self-attention
layers. The clean latent is rearranged because the first alone barely moves colour in SDXL's layout, where no attention
sees the latent's own resolution and skip connections carry the target's colours past it.

Looking at what the network sees while it samples, without changing it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from core.images.geometry import token_grid, token_mask
from core.matching.correspondence import TokenMap
from core.matching.solver import match_tokens
from core.models.unet import NoisePredictor
from core.types import AttentionInput, LatentMask, Rows

Halves = Float[Tensor, "halves tokens channels"]
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

    target_mask: LatentMask
    reference_mask: LatentMask
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
    """Feature injection over one sampling run: an `Edit` for `core.models.unet.patched`, told before every step what
    to do.

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
        """Halves of the batch that belong to this run, per guidance half, while something is injected."""
        return len(self.regions) + 2 if self.mode is Injection.MATCHED else 2

    def __call__(self, layer: str, features: AttentionInput) -> AttentionInput:
        if self.mode is Injection.NONE:
            return features
        output, sources, structure = self.rows(features)
        if self.mode is Injection.STRUCTURE:
            return self.join(output, sources, sources, structure)
        taken = [self._taken(layer, region, output, source) for region, source in enumerate(sources)]
        return self.join(output, taken, sources, structure)

    def rows(self, features: AttentionInput) -> tuple[Halves, list[Halves], Halves]:
        """Output, for every region the row that it takes from, and structure; the last is all of these while
        STRUCTURE."""
        output, *sources, structure = features.unflatten(0, (-1, self.row_count)).unbind(1)
        return output, sources or [structure] * len(self.regions), structure

    def join(
        self, output: Halves, taken: Sequence[Halves], sources: Sequence[Halves], structure: Halves
    ) -> AttentionInput:
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
        """Halves and columns of a layer's tokens."""
        return token_grid(self._latent_size, features.shape[1])

    def _taken(self, layer: str, region: int, output: Halves, source: Halves) -> Halves:
        """What a region's matches give every token; where a match is doubted, the less of it."""
        matches = self._map(layer, region, output, source)
        return output if matches is None else matches.pick(source, output)

    def _map(self, layer: str, region: int, output: Halves, source: Halves) -> TokenMap | None:
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


Seen = Mapping[str, AttentionInput]
"""By layer: what it was given in the last call of the network, all rows, before anything was injected."""


@runtime_checkable
class Watcher(Protocol):
    """Told after every call of the network in which it saw the references."""

    layers: list[str]
    """Whose inputs it wants to see."""

    def saw(self, injections: Sequence[FeatureInjection], seen: Seen, timestep: int) -> None:
        """`injections`: one for every trajectory of the batch."""


def watched(
    predict: NoisePredictor, watcher: Watcher, injections: Sequence[FeatureInjection], seen: Seen
) -> NoisePredictor:
    """`predict`, and `watcher` told of it."""

    def predict_watched(rows: Rows, timestep: int) -> Rows:
        predicted = predict(rows, timestep)
        if injections[0].mode is Injection.MATCHED:
            watcher.saw(injections, seen, timestep)
        return predicted

    return predict_watched


def injection_rows(
    injections: Sequence[FeatureInjection], number: int, features: AttentionInput
) -> Float[Tensor, "rows tokens channels"]:
    """Output, references and structure of one trajectory, of the conditional half."""
    rows: Tensor = features.unflatten(0, (-1, len(injections), injections[0].row_count))[-1, number]
    return rows
