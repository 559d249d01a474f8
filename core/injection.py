"""Feature injection: what the attention layers of the output row read instead of their own features.

| mode | what the output row's tokens read | correspondence |
|---|---|---|
| `feature` | Q, K, V from rearranged features (the paper, section 3.2) | hard, ours |
| `kv` | own Q; K, V from rearranged features (its ablation) | hard, ours |
| `v` | own Q and K; V from rearranged features (its ablation) | hard, ours |
| `block_output` | the residual stream behind the block, rearranged | hard, ours |
| `cross_image` | own Q; K, V of the reference as they are (Alaluf et al., arXiv 2311.03335) | the attention |
| `ctrl_x` | features with mean and deviation by attention (Ctrl-X, arXiv 2406.07540) | the attention |

In every mode tokens outside the target mask keep their own, tokens outside the reference mask are never taken, and a
step of structure re-injection takes the structure row's tokens in place. Levels that only change what a layer reads
leave the computing to the layer's own processor; for the others self-attention is computed here.

What is fixed for a run is a `FeatureInjection`; what changes with every call of the UNet is an immutable
`InjectionStep`; the two together are an `InjectionCall`, whose hooks edit rows and collect the correspondences that
layers make for themselves. Where rows lie in the batch is known to `core.models.unet.BatchLayout` alone.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from functools import partial
from typing import Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import Attention
from jaxtyping import Bool, Float
from torch import Tensor

from core.images.geometry import token_grid, token_mask
from core.matching.correspondence import Correspondence
from core.matching.solver import TokenFeatures, TokenMasks, plain, solve
from core.models.unet import BatchLayout, Layer, SeedRows, patched, patched_blocks, routed
from core.params.transfer import InjectionParams, MatchingParams
from core.types import AttentionInput, EncodedRegion

Halves = Float[Tensor, "halves tokens channels"]
"""One row of the batch, once per guidance half, the conditional one last."""
Heads = Float[Tensor, "halves heads tokens head_channels"]
Maps = tuple[Correspondence | None, ...]
"""For every region of one seed its correspondence, where there is one."""
DEVIATION_FLOOR = 1e-5


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


@runtime_checkable
class Observer(Protocol):
    """Looks at the inputs of layers in every call of the UNet that has reference rows."""

    layers: list[str]
    """Full names of the layers whose inputs it needs."""

    def observe(self, step: InjectionStep, seen: Seen, timestep: int) -> Sequence[Maps] | None:
        """Correspondences of every seed for the calls that follow, or None to leave them."""


@contextmanager
def injecting(
    unet: UNet2DConditionModel,
    layers: Sequence[str],
    injection: FeatureInjection,
    step: InjectionStep,
    params: InjectionParams,
) -> Iterator[dict[tuple[int, int], Correspondence]]:
    """One call of the UNet with `step` injected in `layers` at the level of `params.mode`. Yields the correspondences
    that layers make for themselves in it, by seed and region."""
    call = InjectionCall(injection, step)
    if step.injected is Injected.NOTHING:
        yield call.found
        return
    if params.mode in ("feature", "block_output"):
        patch = patched if params.mode == "feature" else patched_blocks
        with patch(unet, layers, lambda _, features: call.edit(features)):
            yield call.found
        return
    routes: dict[str, Callable[[InjectionCall, Layer, AttentionInput], AttentionInput]] = {
        "kv": _keys_and_values,
        "v": _values,
        "cross_image": partial(_cross_image, params.contrast_strength),
        "ctrl_x": _ctrl_x,
    }
    with routed(unet, layers, partial(routes[params.mode], call)):
        yield call.found


def _keys_and_values(call: InjectionCall, layer: Layer, features: AttentionInput) -> AttentionInput:
    return layer.attend(features, call.edit(features))


def _values(call: InjectionCall, layer: Layer, features: AttentionInput) -> AttentionInput:
    return attend(layer.attention, features, features, call.edit(features))


def _cross_image(contrast: float, call: InjectionCall, layer: Layer, features: AttentionInput) -> AttentionInput:
    """The output attends to the keys and values of the row that it takes from; its attention is contrasted."""
    seeds = call.step.layout.split(features)

    def output(seed: int, own: SeedRows) -> Halves:
        rows = seeds[seed]
        swapped = []
        for region, source in zip(call.injection.regions, call.sources(rows), strict=True):
            allowed = call.source_inside(region, rows.output)
            swapped.append(attend(layer.attention, rows.output, source, source, allowed=allowed, contrast=contrast))
        return call.blend(own.output, swapped)

    return call.with_outputs(layer.attend(features), output)


def _ctrl_x(call: InjectionCall, layer: Layer, features: AttentionInput) -> AttentionInput:
    """Statistics before the layer's own Q, K, V; re-injected structure is taken as it is."""
    if call.step.injected is Injected.STRUCTURE:
        return layer.attend(call.edit(features))
    attention = layer.attention

    def output(seed: int, rows: SeedRows) -> Halves:
        taken = []
        for region, reference in zip(call.injection.regions, rows.references, strict=True):
            there = call.source_inside(region, rows.output)
            own = _normalised(rows.output, call.inside(region, rows.output))
            q = split_heads(attention, attention.to_q(own))
            k = split_heads(attention, attention.to_k(_normalised(reference, there)))
            mean, deviation = _attended_moments(q, k, split_heads(attention, reference), there)
            moved = deviation * split_heads(attention, own) + mean
            taken.append(moved.transpose(1, 2).flatten(2).to(features.dtype))
        return call.blend(rows.output, taken)

    return layer.attend(call.with_outputs(features, output))


def _attended_moments(
    q: Float[Tensor, "halves heads tokens head_channels"],
    k: Float[Tensor, "halves heads tokens head_channels"],
    v: Float[Tensor, "halves heads tokens head_channels"],
    allowed: Bool[Tensor, " tokens"],
) -> tuple[Float[Tensor, "halves heads tokens head_channels"], Float[Tensor, "halves heads tokens head_channels"]]:
    """Mean and deviation of `v` for every query, weighted by its attention. In float32 at least: a small variance is
    the difference of two large numbers."""
    dtype = torch.promote_types(v.dtype, torch.float32)
    q, k, v = q.to(dtype), k.to(dtype), v.to(dtype)
    mask = allowed_keys(allowed, q)
    mean = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    square = F.scaled_dot_product_attention(q, k, v.square(), attn_mask=mask)
    return mean, (square - mean.square()).clamp(min=0.0).sqrt()


def _normalised(features: Halves, inside: Bool[Tensor, " tokens"]) -> Halves:
    """Every channel without its mean and deviation over the tokens inside (instance normalisation)."""
    weight = inside[:, None].to(features.dtype) / inside.sum()
    mean = (features * weight).sum(dim=1, keepdim=True)
    variance = ((features - mean).square() * weight).sum(dim=1, keepdim=True)
    return (features - mean) / variance.sqrt().clamp(min=DEVIATION_FLOOR)


def attend(
    attention: Attention,
    query: Halves,
    key: Halves,
    value: Halves,
    *,
    allowed: Bool[Tensor, " tokens"] | None = None,
    contrast: float = 1.0,
) -> Halves:
    """What `attention` makes of Q, K and V that are projected from three different features.

    Keys outside `allowed` get no attention. `contrast` draws every attention weight away from the mean of its row,
    `clip((w - mean) c + mean, 0, 1)` (Cross-Image Attention, arXiv 2311.03335, eq. 5); 1 leaves them. Dropout and the
    residual of the layer, which SDXL's self-attention has not, are left out.
    """
    q, k, v = (
        split_heads(attention, projection(features))
        for projection, features in ((attention.to_q, query), (attention.to_k, key), (attention.to_v, value))
    )
    if contrast == 1.0:
        heads = F.scaled_dot_product_attention(q, k, v, attn_mask=allowed_keys(allowed, q))
    else:
        heads = contrasted_weights(q, k, allowed, contrast) @ v
    joined = heads.transpose(1, 2).flatten(2)
    projected: Tensor = attention.to_out[0](joined)
    return projected


def contrasted_weights(
    q: Heads, k: Heads, allowed: Bool[Tensor, " tokens"] | None, contrast: float
) -> Float[Tensor, "halves heads tokens tokens"]:
    """Attention weights after the contrast operation. A row keeps its mean, hence its sum, until it is clipped."""
    logits = (q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5).to(torch.promote_types(q.dtype, torch.float32))
    if allowed is None:
        allowed = torch.ones(k.shape[2], dtype=torch.bool, device=k.device)
    weights = logits.masked_fill(~allowed, -torch.inf).softmax(dim=-1)
    mean = 1.0 / allowed.sum()
    contrasted = ((weights - mean) * contrast + mean).clamp(0.0, 1.0)
    weighed: Tensor = (contrasted * allowed).to(q.dtype)
    return weighed


def allowed_keys(allowed: Bool[Tensor, " tokens"] | None, q: Heads) -> Tensor | None:
    """The mask in the shape that torch's attention takes."""
    return None if allowed is None else allowed[None, None, None, :].expand(len(q), 1, q.shape[2], -1)


def split_heads(attention: Attention, features: Halves) -> Heads:
    """`[halves, tokens, channels]` to `[halves, heads, tokens, channels / heads]`."""
    heads: Tensor = features.unflatten(-1, (attention.heads, -1)).transpose(1, 2)
    return heads
