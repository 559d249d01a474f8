"""The same transfer in less memory, for a device that has run out of it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from core.models import Models

TILES_PER_SIDE = 2


@contextmanager
def small_footprint(models: "Models") -> Iterator[None]:
    """Inside, the VAE works tile by tile, half a native side each, overlapping by a quarter.

    Its largest activations, the peak of a transfer, shrink to about a quarter; colours may differ slightly, since its
    normalisation sees less of the picture. The UNet works as always: rows look at each other.
    """
    vae = models.vae
    changed = {
        "use_tiling": True,
        "use_slicing": True,
        "tile_sample_min_size": vae.tile_sample_min_size // TILES_PER_SIDE,
        "tile_latent_min_size": vae.tile_latent_min_size // TILES_PER_SIDE,
    }
    before = {name: getattr(vae, name) for name in changed}
    try:
        for name, value in changed.items():
            setattr(vae, name, value)
        yield
    finally:
        for name, value in before.items():
            setattr(vae, name, value)
