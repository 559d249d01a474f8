"""Self-attention computed here, for levels that give Q, K and V different sources.

Levels that only change what the layer reads leave the computing to the layer's own processor; this is for the others.
"""

import torch
import torch.nn.functional as F
from diffusers.models.attention_processor import Attention
from jaxtyping import Bool, Float
from torch import Tensor

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
