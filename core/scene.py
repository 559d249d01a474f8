"""The scene: all that the stages after encoding read, and none of them changes."""

from dataclasses import dataclass

from core.models.models import Models
from core.models.unet import NoisePredictor
from core.types import Canvas, EncodedRegion, Latent


@dataclass(frozen=True, eq=False)
class Scene:
    """One target, the regions of it that are repainted, and the networks that look at them."""

    models: Models
    target: Canvas
    """Its mask is all that is repainted."""
    target_latent: Latent
    latent_size: tuple[int, int]
    """Height and width of all latents."""
    regions: tuple[EncodedRegion, ...]
    """At least one; one alone may be the whole target."""
    predict: NoisePredictor
    """The UNet with the prompts and the guidance of the job."""
