"""Self-attention computed here, for levels that give Q, K and V different sources.

Levels that only change what the layer reads leave the computing to the layer's own processor; this is for the others.

At which level of a transformer block the output row takes something from the reference.

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

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import partial

import torch
import torch.nn.functional as F
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import Attention
from jaxtyping import Bool, Float
from torch import Tensor

from core.injection.injection import FeatureInjection, Injection
from core.models.unet import Layer, patched, patched_blocks, routed
from core.params.transfer import InjectionMode
from core.types import AttentionInput

Features = Float[Tensor, "halves tokens channels"]
Heads = Float[Tensor, "halves heads tokens head_channels"]


def attend(
    attention: Attention,
    query: Features,
    key: Features,
    value: Features,
    *,
    allowed: Bool[Tensor, " tokens"] | None = None,
    contrast: float = 1.0,
) -> Features:
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


def split_heads(attention: Attention, features: Features) -> Heads:
    """`[halves, tokens, channels]` to `[halves, heads, tokens, channels / heads]`."""
    heads: Tensor = features.unflatten(-1, (attention.heads, -1)).transpose(1, 2)
    return heads


DEVIATION_FLOOR = 1e-5
InjectionRoute = Callable[[FeatureInjection, Layer, AttentionInput], AttentionInput]
"""A `Route` of one trajectory's rows."""


def injecting(
    unet: UNet2DConditionModel,
    layers: Sequence[str],
    injections: Sequence[FeatureInjection],
    mode: InjectionMode,
    contrast: float,
) -> AbstractContextManager[None]:
    """`injections`, one for every trajectory of the batch, at work in `layers` for the length of a `with` block.
    `contrast` is that of `cross_image`."""
    if mode in ("feature", "block_output"):
        patch = patched if mode == "feature" else patched_blocks
        return patch(unet, layers, lambda name, features: _each(injections, features, lambda one, own: one(name, own)))
    routes: dict[str, InjectionRoute] = {
        "kv": _keys_and_values,
        "v": _values,
        "cross_image": partial(_cross_image, contrast),
        "soft_statistics": _soft_statistics,
    }
    chosen = routes[mode]

    def route(layer: Layer, features: AttentionInput) -> AttentionInput:
        if injections[0].mode is Injection.NONE:
            return layer.attend(features)
        return _each(injections, features, lambda one, own: chosen(one, layer, own))

    return routed(unet, layers, route)


def _each(
    injections: Sequence[FeatureInjection],
    features: AttentionInput,
    run: Callable[[FeatureInjection, AttentionInput], AttentionInput],
) -> AttentionInput:
    """`run` for the rows of every trajectory: a batch holds halves of trajectories of rows."""
    if len(injections) == 1 or injections[0].mode is Injection.NONE:
        return run(injections[0], features)
    rows = injections[0].row_count
    parts = features.unflatten(0, (-1, len(injections), rows)).unbind(1)
    done = [run(one, part.flatten(0, 1)) for one, part in zip(injections, parts, strict=True)]
    return torch.stack([part.unflatten(0, (-1, rows)) for part in done], dim=1).flatten(0, 2)


def _keys_and_values(injection: FeatureInjection, layer: Layer, features: AttentionInput) -> AttentionInput:
    return layer.attend(features, injection(layer.name, features))


def _values(injection: FeatureInjection, layer: Layer, features: AttentionInput) -> AttentionInput:
    return attend(layer.attention, features, features, injection(layer.name, features))


def _cross_image(
    contrast: float, injection: FeatureInjection, layer: Layer, features: AttentionInput
) -> AttentionInput:
    """The output attends to the keys and values of the row that it takes from; its attention is contrasted."""
    output, sources, _ = injection.rows(features)
    swapped = []
    for region, source in zip(injection.regions, sources, strict=True):
        allowed = injection.source_inside(region, features)
        swapped.append(attend(layer.attention, output, source, source, allowed=allowed, contrast=contrast))
    own, others, structure = injection.rows(layer.attend(features))
    return injection.join(own, swapped, others, structure)


def _soft_statistics(injection: FeatureInjection, layer: Layer, features: AttentionInput) -> AttentionInput:
    """Statistics before the layer's own Q, K, V; re-injected structure is taken as it is."""
    if injection.mode is Injection.STRUCTURE:
        return layer.attend(injection(layer.name, features))
    output, sources, structure = injection.rows(features)
    attention = layer.attention
    taken = []
    for region, reference in zip(injection.regions, sources, strict=True):
        there = injection.source_inside(region, features)
        own = _normalised(output, injection.inside(region, features))
        q = split_heads(attention, attention.to_q(own))
        k = split_heads(attention, attention.to_k(_normalised(reference, there)))
        mean, deviation = _attended_moments(q, k, split_heads(attention, reference), there)
        moved = deviation * split_heads(attention, own) + mean
        taken.append(moved.transpose(1, 2).flatten(2).to(features.dtype))
    return layer.attend(injection.join(output, taken, sources, structure))


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
