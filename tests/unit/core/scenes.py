"""Scenes and regions made of latents, for tests that begin behind the encoder."""

import torch

from core.models.models import Models
from core.models.unet import NoisePredictor
from core.scene import Scene
from core.types import Canvas, EncodedRegion, Latent, LatentMask, Mask


def at_working_size(mask: LatentMask, factor: int = 2) -> Mask:
    """Every place of a latent as `factor` x `factor` pixels."""
    return mask.float().repeat_interleave(factor, 0).repeat_interleave(factor, 1)


def blank_canvas(mask: Mask) -> Canvas:
    return Canvas(torch.zeros(3, *mask.shape), mask, (0.0, 0.0, 1.0, 1.0))


def make_region(
    target_mask: LatentMask,
    reference_mask: LatentMask,
    *,
    reference: Latent | None = None,
    scale: float = 1.0,
    figure: bool = False,
) -> EncodedRegion:
    """By masks at the latent's size; the reference's picture is black."""
    canvas = blank_canvas(at_working_size(reference_mask))
    return EncodedRegion(
        canvas,
        at_working_size(target_mask),
        figure,
        torch.zeros(1, 4, *reference_mask.shape) if reference is None else reference,
        target_mask,
        reference_mask,
        scale,
    )


def make_scene(
    models: Models, target: Latent, reference: Latent, masks: tuple[LatentMask, LatentMask], predict: NoisePredictor
) -> Scene:
    """One region, by the masks of target and reference."""
    region = make_region(*masks, reference=reference)
    canvas = blank_canvas(region.target_mask)
    size = (target.shape[2], target.shape[3])
    return Scene(models, canvas, target, size, (region,), predict)
