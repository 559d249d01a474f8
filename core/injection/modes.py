"""At which level of a transformer block the output row takes something from the reference.

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
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import torch
import torch.nn.functional as F
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import Attention
from jaxtyping import Bool, Float
from torch import Tensor

from core.injection.injection import FeatureInjection, Halves, Injected, InjectionCall, InjectionStep
from core.matching.correspondence import Correspondence
from core.models.unet import Layer, SeedRows, patched, patched_blocks, routed
from core.params.transfer import InjectionParams
from core.types import AttentionInput

Features = Float[Tensor, "halves tokens channels"]
Heads = Float[Tensor, "halves heads tokens head_channels"]
DEVIATION_FLOOR = 1e-5


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


def _normalised(features: Features, inside: Bool[Tensor, " tokens"]) -> Features:
    """Every channel without its mean and deviation over the tokens inside (instance normalisation)."""
    weight = inside[:, None].to(features.dtype) / inside.sum()
    mean = (features * weight).sum(dim=1, keepdim=True)
    variance = ((features - mean).square() * weight).sum(dim=1, keepdim=True)
    return (features - mean) / variance.sqrt().clamp(min=DEVIATION_FLOOR)


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
