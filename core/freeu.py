"""FreeU for the length of a `with` block: Si et al., "FreeU: Free Lunch in Diffusion U-Net" (arXiv 2309.11497)."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from diffusers import UNet2DConditionModel


@dataclass(frozen=True)
class FreeU:
    """Factors of the first two up blocks, under their published names; all 1 is off."""

    b1: float = 1.0
    """Of half the channels of the backbone's features, in the first up block."""
    b2: float = 1.0
    s1: float = 1.0
    """Of the lowest spatial frequencies of the skip connection, in the first up block."""
    s2: float = 1.0


@contextmanager
def freeu(unet: UNet2DConditionModel, factors: FreeU) -> Iterator[None]:
    """Every row alike runs through the scaled blocks, so the structure row still reconstructs its picture."""
    if factors == FreeU():
        yield
        return
    unet.enable_freeu(s1=factors.s1, s2=factors.s2, b1=factors.b1, b2=factors.b2)
    try:
        yield
    finally:
        unet.disable_freeu()
