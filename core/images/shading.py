"""The target's light and shade on the reference's colours: shading is structure, and both pictures bring their own.

On one surface of one colour, what varies in lightness is shading. So every place is compared with those near it that
share its colour in the target *and* in the moved reference (a joint bilateral weight, as Petschnigg et al. 2004 and
Eisemann and Durand 2004 have it for two pictures of one scene): how much darker or lighter than them it is in the
target takes the place of how much it is so in the reference. The mean lightness of a surface stays the reference's,
and where a place has few of its colour around it, as in fine patterns, it stays as it is.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from core.images.geometry import token_mask
from core.types import Picture

AREA = 128 * 128
"""Pixels at most among which shading is compared; it is smooth, and read between them where a picture has more."""
SAMPLES = 2048
"""Places at most that every place is compared with."""
NEAR = 0.4
"""Distance at which a place has 0.61 of its weight, as a share of the picture's side."""
SAME_HUE = 0.06
"""The same for the difference of a colour's shares of red, green and blue, which shading leaves alone."""
SAME_LIGHTNESS = 0.3
"""The same for the logarithm of lightness: white and black are of one hue."""
MIN_PLACES = 12.0
"""Places of one surface, in AREA, at which half of the difference counts."""
MAX_LOG_GAIN = 0.7
"""Logarithm of the largest factor."""
DARK = 0.02
"""Added to colours, so that black has a logarithm."""


def keep_shading(
    moved: Picture, target: Picture, mask: Float[Tensor, "height width"], *, strength: float = 1.0
) -> Picture:
    """`moved`, the reference's colours in the target's places, under the target's shading inside the mask; at a
    strength between 0 and 1, partly so."""
    if strength == 0.0:
        return moved
    return (moved * (strength * shading_gain(moved, target, mask)).exp()).clamp(0.0, 1.0)


def shading_gain(moved: Picture, target: Picture, mask: Float[Tensor, "height width"]) -> Float[Tensor, "height width"]:
    """Logarithm of the factor by which every place has to be lighter to be shaded as in the target; 0 outside."""
    height, width = mask.shape
    shrink = min(1.0, (AREA / (height * width)) ** 0.5)
    size = (max(1, round(height * shrink)), max(1, round(width * shrink)))
    small = F.interpolate(torch.cat([moved, target])[None], size=size, mode="area")[0]
    row, column = torch.nonzero(token_mask(mask, size).unflatten(0, size), as_tuple=True)
    place = torch.stack([row, column], dim=1).to(small) / (NEAR * (size[0] * size[1]) ** 0.5)
    sides = [_hue_and_lightness(small[first : first + 3, row, column].T) for first in (0, 3)]
    scaled = [part for hue, lightness in sides for part in (hue / SAME_HUE, lightness[:, None] / SAME_LIGHTNESS)]
    alike = torch.cat([place, *scaled], dim=1)
    lightness = torch.stack([light for _, light in sides], dim=1)
    samples = torch.linspace(0, len(alike) - 1, min(SAMPLES, len(alike)), device=alike.device).round().long()
    weight = torch.exp(-0.5 * torch.cdist(alike, alike[samples]).square())
    total = weight.sum(dim=1, keepdim=True)
    of_moved, of_target = (lightness - weight @ lightness[samples] / total.clamp(min=1e-9)).unbind(1)
    count = total[:, 0] * (len(alike) / len(samples))
    plane = torch.zeros(size, device=small.device, dtype=small.dtype)
    plane[row, column] = (of_target - of_moved).clamp(-MAX_LOG_GAIN, MAX_LOG_GAIN) * count / (count + MIN_PLACES)
    gain = F.interpolate(plane[None, None], size=(height, width), mode="bilinear", align_corners=False)[0, 0]
    return gain * (mask > 0.0)


def _hue_and_lightness(
    colours: Float[Tensor, "places 3"],
) -> tuple[Float[Tensor, "places 3"], Float[Tensor, " places"]]:
    """Shares of red, green and blue, and the mean of their logarithms."""
    lit = colours.clamp(min=0.0) + DARK
    return lit / lit.sum(dim=1, keepdim=True), lit.log().mean(dim=1)
