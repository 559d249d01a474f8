"""At which level of a transformer block the output row takes something from the reference.

| mode | what the output row's tokens read | correspondence |
|---|---|---|
| `feature` | Q, K, V from rearranged features (the paper, section 3.2) | hard, ours |
| `kv` | own Q; K, V from rearranged features (its ablation) | hard, ours |
| `v` | own Q and K; V from rearranged features (its ablation) | hard, ours |
| `block_output` | the residual stream behind the block, rearranged | hard, ours |
| `cross_image` | own Q; K, V of the reference as they are (Alaluf et al., arXiv 2311.03335) | the attention |
| `soft_statistics` | features with mean and deviation by attention (Ctrl-X, arXiv 2406.07540) | the attention |

In every mode tokens outside the target mask keep their own, tokens outside the reference mask are never taken, and a
step of structure re-injection takes the structure row's tokens in place.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from functools import partial

import torch
import torch.nn.functional as F
from diffusers import UNet2DConditionModel
from jaxtyping import Bool, Float
from torch import Tensor

from core.attend import allowed_keys, attend, split_heads
from core.params import InjectionMode
from core.patch import AttentionInput, Layer, Route, patched, patched_blocks, routed
from core.rearrange import FeatureInjection, Injection

DEVIATION_FLOOR = 1e-5


def injecting(
    unet: UNet2DConditionModel, layers: Sequence[str], injection: FeatureInjection, mode: InjectionMode, contrast: float
) -> AbstractContextManager[None]:
    """`injection` at work in `layers` for the length of a `with` block. `contrast` is that of `cross_image`."""
    if mode == "feature":
        return patched(unet, layers, injection)
    if mode == "block_output":
        return patched_blocks(unet, layers, injection)
    routes: dict[str, Route] = {
        "kv": partial(_keys_and_values, injection),
        "v": partial(_values, injection),
        "cross_image": partial(_cross_image, injection, contrast),
        "soft_statistics": partial(_soft_statistics, injection),
    }
    return routed(unet, layers, _while_injecting(injection, routes[mode]))


def _while_injecting(injection: FeatureInjection, route: Route) -> Route:
    def choose(layer: Layer, features: AttentionInput) -> AttentionInput:
        return layer.attend(features) if injection.mode is Injection.NONE else route(layer, features)

    return choose


def _keys_and_values(injection: FeatureInjection, layer: Layer, features: AttentionInput) -> AttentionInput:
    return layer.attend(features, injection(layer.name, features))


def _values(injection: FeatureInjection, layer: Layer, features: AttentionInput) -> AttentionInput:
    return attend(layer.attention, features, features, injection(layer.name, features))


def _cross_image(
    injection: FeatureInjection, contrast: float, layer: Layer, features: AttentionInput
) -> AttentionInput:
    """The output attends to the other row's keys and values; its attention is contrasted."""
    output, source, _ = injection.rows(features)
    allowed = injection.source_inside(features)
    swapped = attend(layer.attention, output, source, source, allowed=allowed, contrast=contrast)
    own, *others = injection.rows(layer.attend(features))
    return injection.join(own, swapped, *others)


def _soft_statistics(injection: FeatureInjection, layer: Layer, features: AttentionInput) -> AttentionInput:
    """Statistics before the layer's own Q, K, V; re-injected structure is taken as it is."""
    if injection.mode is Injection.STRUCTURE:
        return layer.attend(injection(layer.name, features))
    output, reference, structure = injection.rows(features)
    there = injection.source_inside(features)
    own = _normalised(output, injection.inside(features))
    attention = layer.attention
    q = split_heads(attention, attention.to_q(own))
    k = split_heads(attention, attention.to_k(_normalised(reference, there)))
    mean, deviation = _attended_moments(q, k, split_heads(attention, reference), there)
    moved = deviation * split_heads(attention, own) + mean
    taken = moved.transpose(1, 2).flatten(2).to(features.dtype)
    return layer.attend(injection.join(output, taken, reference, structure))


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


def _normalised(features: AttentionInput, inside: Bool[Tensor, " tokens"]) -> AttentionInput:
    """Every channel without its mean and deviation over the tokens inside (instance normalisation)."""
    weight = inside[:, None].to(features.dtype) / inside.sum()
    mean = (features * weight).sum(dim=1, keepdim=True)
    variance = ((features - mean).square() * weight).sum(dim=1, keepdim=True)
    return (features - mean) / variance.sqrt().clamp(min=DEVIATION_FLOOR)
