"""The axes of tensors and the plain data that stages hand to one another.

Every word of a shape is declared here once: `height width` are pixels of a working canvas, `latent_height latent_width`
places of a latent, `image_height image_width` pixels of a picture as it was given. Within one checked function a word
stands for one number.
"""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

Image = Float[Tensor, "image_channels image_height image_width"]
"""RGB or RGBA, 0 to 1, at the size in which it was given."""
ImageMask = Float[Tensor, "image_height image_width"]
"""Weights 0 to 1 of an image's size."""
UploadedMask = Float[Tensor, "mask_height mask_width"]
"""Weights 0 to 1; whether it has its picture's size is still to be checked."""
Picture = Float[Tensor, "3 height width"]
"""sRGB, 0 to 1, at a working size."""
Mask = Float[Tensor, "height width"]
"""Weights 0 to 1 at a working size."""
Latent = Float[Tensor, "1 latent_channels latent_height latent_width"]
"""Clean or noisy, scaled as the UNet was trained."""
LatentMask = Float[Tensor, "latent_height latent_width"]
"""Weights 0 to 1 at a latent's size."""
Rows = Float[Tensor, "rows latent_channels latent_height latent_width"]
"""Latents as one batch of the UNet."""
AttentionInput = Float[Tensor, "batch tokens channels"]
"""What a self-attention layer projects Q, K and V from."""


@dataclass(frozen=True)
class LatentPair:
    """The target, a picture that it takes from, and where each takes part (weights at the latent's size). Several
    pairs of one target are its regions; their target masks do not overlap."""

    target: Latent
    reference: Latent
    target_mask: LatentMask
    reference_mask: LatentMask
    strength: float = 1.0
    """How far the target goes towards the reference's appearance, 0 to 1."""
