"""Feature injection (the paper, section 3.2): tokens of the output row read the reference's features, rearranged.

What is fixed for a run is a `FeatureInjection`; what changes with every call of the UNet is an immutable
`InjectionStep`; the two together are an `InjectionCall`, whose hooks edit rows and collect the correspondences that
layers make for themselves. Where rows lie in the batch is known to `core.models.unet.BatchLayout` alone.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from typing import Protocol

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from core.images.geometry import token_grid, token_mask
from core.matching.correspondence import Correspondence
from core.matching.solver import TokenFeatures, TokenMasks, plain, solve
from core.models.unet import BatchLayout, SeedRows
from core.params.transfer import MatchingParams
from core.types import AttentionInput, EncodedRegion

Halves = Float[Tensor, "halves tokens channels"]
"""One row of the batch, once per guidance half, the conditional one last."""
Maps = tuple[Correspondence | None, ...]
"""For every region of one seed its correspondence, where there is one."""


class Injected(Enum):
    """What the output rows take in one call of the UNet."""

    NOTHING = auto()
    MATCHED = auto()
    """The references' features, rearranged by correspondence."""
    STRUCTURE = auto()
    """The structure row's features (the paper's structure re-injection)."""


@dataclass(frozen=True)
class InjectionStep:
    """What is injected in one call of the UNet."""

    injected: Injected
    layout: BatchLayout
    """It has reference rows while MATCHED."""
    maps: tuple[Maps, ...]
    """For every seed the correspondences that serve all layers."""


@dataclass(frozen=True)
class FeatureInjection:
    """What is fixed for a run."""

    regions: Sequence[EncodedRegion]
    latent_size: tuple[int, int]
    scale: float
    """How far injected features replace a token's own, `F + s (F_ref[c] - F)`; each region has its own factor
    beside."""
    matching: MatchingParams | None
    """How a layer matches for a region without a map (source `per_layer`); None: it injects nothing there."""


@dataclass(frozen=True)
class InjectionCall:
    """One call of the UNet, as its hooks see it.

    Correspondences are made of the conditional half and serve every half. Tokens outside a region's target mask keep
    their own; where regions meet in a token, the later one has it.
    """

    injection: FeatureInjection
    step: InjectionStep
    found: dict[tuple[int, int], Correspondence] = field(default_factory=dict)
    """By seed and region: of the correspondences that layers made in this call, the last on the finest grid."""

    def edit(self, features: AttentionInput) -> AttentionInput:
        """The batch with the features that its output rows take in their place."""

        def output(seed: int, rows: SeedRows) -> Halves:
            return self.blend(rows.output, [self._taken(seed, number, rows) for number in self._numbers])

        return self.with_outputs(features, output)

    def with_outputs(self, features: AttentionInput, output: Callable[[int, SeedRows], Halves]) -> AttentionInput:
        """The batch with `output(seed, rows)` in place of every output row."""
        layout = self.step.layout
        edited = [replace(rows, output=output(seed, rows)) for seed, rows in enumerate(layout.split(features))]
        return layout.join(edited)

    def blend(self, output: Halves, taken: Sequence[Halves]) -> Halves:
        """An output row with what each region has taken inside that region's mask."""
        edited, matched = output, self.step.injected is Injected.MATCHED
        for region, rows in zip(self.injection.regions, taken, strict=True):
            drawn = torch.lerp(output, rows, region.scale * self.injection.scale) if matched else rows
            edited = torch.where(self.inside(region, output)[:, None], drawn, edited)
        return edited

    def sources(self, rows: SeedRows) -> Sequence[Halves]:
        """For every region the row that it takes from."""
        return rows.references if self.step.injected is Injected.MATCHED else [rows.structure] * len(self._numbers)

    def inside(self, region: EncodedRegion, features: Halves) -> Bool[Tensor, " tokens"]:
        """Tokens inside the region's target mask."""
        return token_mask(region.target_latent_mask, self._grid(features))

    def source_inside(self, region: EncodedRegion, features: Halves) -> Bool[Tensor, " tokens"]:
        """Tokens of the row that the region takes from that may be taken."""
        matched = self.step.injected is Injected.MATCHED
        return token_mask(region.reference_latent_mask if matched else region.target_latent_mask, self._grid(features))

    @property
    def _numbers(self) -> range:
        return range(len(self.injection.regions))

    def _grid(self, features: Halves) -> tuple[int, int]:
        return token_grid(self.injection.latent_size, features.shape[1])

    def _taken(self, seed: int, region: int, rows: SeedRows) -> Halves:
        """What every token takes from its region's source; the less its match is trusted, the less of it."""
        if self.step.injected is Injected.STRUCTURE:
            return rows.structure
        found = self._correspondence(seed, region, rows)
        return rows.output if found is None else found.rearrange(rows.references[region], rows.output)

    def _correspondence(self, seed: int, region: int, rows: SeedRows) -> Correspondence | None:
        grid, shared = self._grid(rows.output), self.step.maps[seed][region]
        if shared is not None:
            return shared.resized(grid)
        params = self.injection.matching
        if params is None:
            return None
        encoded = self.injection.regions[region]
        features = TokenFeatures(rows.output[-1], rows.references[region][-1], grid)
        masks = TokenMasks(self.inside(encoded, rows.output), token_mask(encoded.reference_latent_mask, grid))
        found = solve(features, masks, plain(params))
        before = self.found.get((seed, region))
        if before is None or len(found.index) >= len(before.index):
            self.found[seed, region] = found
        return found


Seen = Mapping[str, AttentionInput]
"""By layer: its input in the last call of the UNet, all rows, before anything was injected."""


class Observer(Protocol):
    """Looks at the inputs of layers in every call of the UNet that has reference rows."""

    layers: list[str]
    """Full names of the layers whose inputs it needs."""

    def observe(self, step: InjectionStep, seen: Seen, timestep: int) -> Sequence[Maps] | None:
        """Correspondences of every seed for the calls that follow, or None to leave them."""
