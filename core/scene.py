"""The scene: what `encode` makes of a job. All later stages read it, and none of them changes it."""

from dataclasses import dataclass

from core.models.models import Models
from core.models.unet import NoisePredictor
from core.types import Canvas, EncodedRegion, Latent


@dataclass(frozen=True, eq=False)
class Scene:
    """One target, the regions of it that are repainted with their references, and the networks."""

    models: Models
    target: Canvas
    """The target at the working size; its mask is all regions together."""
    target_latent: Latent
    """Clean, of the whole target."""
    latent_size: tuple[int, int]
    """Height and width of all latents."""
    regions: tuple[EncodedRegion, ...]
    """At least one; one alone may be the whole target."""
    predict: NoisePredictor
    """The UNet with the prompts and the guidance of the job."""
