"""The axes of tensors, and the plain data that stages hand to one another.

Every word of a shape is declared here once: `height width` are pixels of a working canvas, `latent_height latent_width`
places of a latent, `image_height image_width` pixels of a picture as it was given. Within one checked function a word
stands for one number.
"""

from dataclasses import dataclass

from jaxtyping import Float, UInt8
from torch import Tensor

Image = (
    Float[Tensor, "image_channels image_height image_width"] | UInt8[Tensor, "image_channels image_height image_width"]
)
"""RGB or RGBA at the size in which it was given: 0 to 1, or in bytes 0 to 255, which take a quarter of the memory."""
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
class Canvas:
    """One input picture at the working size."""

    picture: Picture
    mask: Mask
    """Where the picture takes part: its mask, or its alpha, or everywhere; 0 outside its own area."""
    box: tuple[float, float, float, float]
    """Where the picture lies: left, top, width, height as fractions of the canvas. A canvas that shows a part of its
    picture has a box larger than itself."""


@dataclass(frozen=True)
class Conditioning:
    """One prompt as the UNet's conditioning, for a single row."""

    tokens: Float[Tensor, "1 length text_channels"]
    pooled: Float[Tensor, "1 pooled_channels"] | None
    """The prompt as a whole; None where the backbone takes none."""
    sizes: Float[Tensor, "1 6"]
    """Original height and width, crop top and left, target height and width, in pixels (arXiv 2307.01952, 2.2)."""


@dataclass(frozen=True)
class Outlines:
    """Masks of both figures on their canvases, weights 0 to 1, at a latent's size."""

    target: LatentMask
    reference: LatentMask
    alike: bool = True
    """Whether both are outlines of things, which can be laid over each other; not where one is its whole picture."""


@dataclass(frozen=True)
class EncodedRegion:
    """One part of the target and the picture that it takes its appearance from, on canvases and as latents."""

    reference: Canvas
    target_mask: Mask
    """Where in the target's canvas the region lies; regions do not overlap."""
    figure: bool
    """Whether there is a masked object: the region or the reference's mask leaves out a part of its picture. Only then
    are objects cropped, realigned and carried by one affine map; otherwise whole pictures are compared."""
    reference_latent: Latent
    target_latent_mask: LatentMask
    reference_latent_mask: LatentMask
    scale: float = 1.0
    """How far the region goes towards the reference's appearance, 0 to 1."""
    alike: bool = False
    """Whether both masks leave out a part of their picture."""

    @property
    def outlines(self) -> Outlines | None:
        """The masks, where there is a masked object."""
        return Outlines(self.target_latent_mask, self.reference_latent_mask, self.alike) if self.figure else None
