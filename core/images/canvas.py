"""Pictures on the way in and out: sizes, alpha, masks, extrapolation, and setting the result into the target.

Nothing is squeezed. A figure that a mask sets apart is cropped with a margin; a whole target is resized to the nearest
size that the network supports at its working area, and a whole reference fitted into the same canvas, its surroundings
filled with its own border and excluded from matching.
"""

import math
from typing import Literal

import numpy as np
import PIL.Image
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from core.errors import EmptyMaskError, ShapeError
from core.images.geometry import CROP_FILL, MAX_MAGNIFICATION, resize, resize_image, unit_range
from core.types import Canvas, Image, ImageMask, Mask, Picture, UploadedMask

Role = Literal["target", "reference"]
MIN_SIDE = 8
FAINT = 0.02
"""Weights up to this are what compression leaves of black."""
SURELY_INSIDE = 0.95
"""Weight after feathering from which a place lies within a part that is thick enough for the feather."""
MATTE = 0.5
"""Grey behind transparent pixels: it is never part of the result."""
MIXED_EDGE_PX = 1
"""How far inside its outline a figure's pixels mix with what is behind it (ADR 31)."""


def covers_all(canvas: Canvas) -> bool:
    """Whether all of the picture on the canvas takes part."""
    height, width = canvas.mask.shape
    return int((canvas.mask > 0.0).sum()) >= round(canvas.box[2] * width) * round(canvas.box[3] * height)


def to_device(canvas: Canvas, device: torch.device) -> Canvas:
    """The same canvas, its tensors on `device`."""
    return Canvas(canvas.picture.to(device), canvas.mask.to(device), canvas.box)


def working_size(height: int, width: int, *, resolution: int, multiple: int) -> tuple[int, int]:
    """Height and width nearest to the given aspect ratio, with the area of a square of side `resolution`, each a
    multiple of `multiple`."""
    scale = resolution / (height * width) ** 0.5
    return (
        max(multiple, round(height * scale / multiple) * multiple),
        max(multiple, round(width * scale / multiple) * multiple),
    )


def stretch_canvas(image: Image, mask: UploadedMask | None, size: tuple[int, int]) -> Canvas:
    """The target's canvas: the picture resized to `size`, which `working_size` chose to fit its aspect ratio.

    Wherever the mask's weight is above FAINT the picture is repainted wholly; `core.finish.stitch` blends it by that
    weight.
    Raises ShapeError and EmptyMaskError.
    """
    weight = _weight(image, mask, "target")
    weight = (weight > FAINT).to(weight.dtype) if mask is not None else weight
    return Canvas(resized_on_matte(image, size), resize(weight[None], size)[0], (0.0, 0.0, 1.0, 1.0))


def fit_canvas(image: Image, mask: UploadedMask | None, size: tuple[int, int]) -> Canvas:
    """The reference's canvas: the whole picture, undistorted, as large as `size` allows and centred; its border
    pixels continue outwards, where the mask is 0. Raises ShapeError and EmptyMaskError.
    """
    weight = _weight(image, mask, "reference")
    height, width = weight.shape
    scale = min(size[0] / height, size[1] / width)
    inner = (min(size[0], max(1, round(height * scale))), min(size[1], max(1, round(width * scale))))
    top, left = (size[0] - inner[0]) // 2, (size[1] - inner[1]) // 2
    padding = (left, size[1] - inner[1] - left, top, size[0] - inner[0] - top)
    fitted = F.pad(resized_on_matte(image, inner)[None], padding, mode="replicate")[0]
    mask_out = F.pad(resize(weight[None], inner)[0], padding)
    box = (left / size[1], top / size[0], inner[1] / size[1], inner[0] / size[0])
    return Canvas(fitted, mask_out, box)


def crop_canvas(image: Image, mask: UploadedMask | None, size: tuple[int, int], role: Role) -> Canvas:
    """A window of the picture around its masked figure, at `size` (height, width), in that aspect ratio.

    The figure's longer side takes CROP_FILL of the window, and is magnified at most MAX_MAGNIFICATION times. Beyond the
    picture its border pixels continue, where the mask is 0. As in `stretch_canvas`, all of the target that the mask
    includes at all is repainted wholly. Raises ShapeError and EmptyMaskError.
    """
    weight = _weight(image, mask, role)
    left, top, width, height = figure_window(weight > FAINT if role == "target" else half_inside(weight), size)
    patch, inside = cut(image, left, top, width, height), cut(weight[None], left, top, width, height, beyond=0.0)
    if role == "target":
        inside = (inside > FAINT).to(weight.dtype)
    box = (-left / width, -top / height, image.shape[2] / width, image.shape[1] / height)
    return Canvas(resized_on_matte(patch, size), resize(inside, size)[0], box)


def half_inside(mask: ImageMask) -> Bool[Tensor, "image_height image_width"]:
    """Where a mask's weight is a half at least, or, of a fainter one, the greatest."""
    return mask >= mask.max().clamp(max=0.5)


def figure_window(inside: Bool[Tensor, "image_height image_width"], size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Left, top, width, height, in pixels of the picture, of the window in whose middle the figure lies whose pixels
    are given, in the aspect ratio of `size` (height, width). It may reach beyond the picture."""
    rows, columns = torch.nonzero(inside.any(1))[:, 0].tolist(), torch.nonzero(inside.any(0))[:, 0].tolist()
    top, bottom, left, right = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
    unit = max((bottom - top) / size[0], (right - left) / size[1]) / CROP_FILL
    unit = max(unit, 1.0 / MAX_MAGNIFICATION)
    width, height = max(1, math.ceil(unit * size[1])), max(1, math.ceil(unit * size[0]))
    return (left + right - width) // 2, (top + bottom - height) // 2, width, height


def cut(
    plane: Float[Tensor, "channels height width"] | UInt8[Tensor, "channels height width"],
    left: int,
    top: int,
    width: int,
    height: int,
    *,
    beyond: float | None = None,
) -> Float[Tensor, "channels cut_height cut_width"] | UInt8[Tensor, "channels cut_height cut_width"]:
    """A rectangle of a picture or mask, in its pixels. Beyond its border: the border's pixels, or `beyond`."""
    rows = torch.arange(top, top + height, device=plane.device)
    columns = torch.arange(left, left + width, device=plane.device)
    inner = (rows.clamp(0, plane.shape[1] - 1), columns.clamp(0, plane.shape[2] - 1))
    taken = plane[:, inner[0][:, None], inner[1][None, :]]
    if beyond is None:
        return taken
    outside = ((rows != inner[0])[:, None]) | ((columns != inner[1])[None, :])
    return taken.masked_fill(outside, beyond)


def check_image(image: Image, mask: UploadedMask | None, role: str) -> None:
    """Raises ShapeError for a picture, or a mask to it, that cannot be worked with."""
    channels, height, width = image.shape
    if channels not in (3, 4):
        raise ShapeError(f"the {role} has {channels} channels, not 3 (RGB) or 4 (RGBA)")
    if min(height, width) < MIN_SIDE:
        raise ShapeError(f"the {role} is {width} x {height} pixels; each side needs {MIN_SIDE}")
    if mask is not None and mask.shape != (height, width):
        raise ShapeError(f"the {role}'s mask is {mask.shape[1]} x {mask.shape[0]}, the picture {width} x {height}")


def on_matte(image: Image) -> Picture:
    """The picture on the matte, 0 to 1; an opaque one is itself."""
    picture = unit_range(image)
    return picture if len(picture) == 3 else picture[:3] * picture[3] + MATTE * (1.0 - picture[3])


def alpha_of(image: Image) -> ImageMask:
    """Opacity, 0 to 1; 1 everywhere, in no memory, for an opaque picture."""
    if len(image) == 4:
        return unit_range(image[3:])[0]
    return torch.ones(1, 1, device=image.device).expand(image.shape[1:])


def _weight(image: Image, mask: UploadedMask | None, role: str) -> ImageMask:
    """The mask times the alpha. Raises ShapeError and EmptyMaskError."""
    check_image(image, mask, role)
    weight = alpha_of(image) if mask is None else mask if len(image) == 3 else mask * alpha_of(image)
    if float(weight.max()) <= 0.0:
        raise EmptyMaskError(f"the {role}'s mask (or its alpha) selects no pixel")
    return weight


def resized_on_matte(image: Image, size: tuple[int, int]) -> Picture:
    """The picture on the matte at `size` (height, width)."""
    return resize_image(image, size) if len(image) == 3 else resize(on_matte(image), size)


def feather(mask: ImageMask, width_px: float) -> ImageMask:
    """Soften a mask inwards over about `width_px` of its pixels: 0 stays 0, and 1 is reached inside. What is soft
    already stays as it is, where it is softer, and what is too thin for the feather stays whole.

    A Gaussian blur of a straight edge is 1/2 on the edge; stretching 1/2..1 to 0..1 leaves nothing outside.
    """
    sigma = width_px / 2.0
    if sigma < 0.1:
        return mask
    radius = min(int(3.0 * sigma + 0.5), min(mask.shape) - 1)
    x = torch.arange(-radius, radius + 1, dtype=mask.dtype, device=mask.device)
    kernel = torch.exp(-0.5 * (x / sigma) ** 2)
    kernel = kernel / kernel.sum()
    support = (mask > 0.0).to(mask.dtype)
    padded = F.pad(support[None, None], (radius, radius, radius, radius), mode="reflect")
    rows = F.conv2d(padded, kernel[None, None, None, :])
    blurred = F.conv2d(rows, kernel[None, None, :, None])
    soft = (2.0 * blurred - 1.0).clamp(0.0, 1.0)
    reach = 2 * radius + 1
    thick = F.max_pool2d((soft > SURELY_INSIDE).to(mask.dtype), 2 * reach + 1, stride=1, padding=reach)
    return torch.minimum(mask, torch.where(thick > 0.0, soft, support)[0, 0])


def feather_part(
    mask: ImageMask, width_px: float, left: int, top: int, width: int, height: int
) -> Float[Tensor, "part_height part_width"]:
    """A rectangle of `feather(mask, width_px)`, in the mask's pixels, made of what lies around it alone."""
    halo = 4 * (int(1.5 * width_px + 0.5) + 1)
    around = cut(mask[None], left - halo, top - halo, width + 2 * halo, height + 2 * halo)[0]
    return feather(around, width_px)[halo : halo + height, halo : halo + width]


def extrapolate(picture: Picture, mask: Mask, margin_px: int = MIXED_EDGE_PX) -> Picture:
    """`picture` with the colours more than `margin_px` inside `mask` (weights 0 to 1, of its size) continued over
    everything else.

    A mask without an outline, or so thin that nothing is well inside, leaves the picture as it is.
    """
    outside = (mask < 0.5).to(picture.dtype)[None, None]
    inside = F.max_pool2d(outside, 2 * margin_px + 1, stride=1, padding=margin_px) < 0.5
    return pull_push(picture[None], inside)[0] if bool(inside.any()) else picture


def pull_push(
    values: Float[Tensor, "1 channels height width"], known: Bool[Tensor, "1 1 height width"]
) -> Float[Tensor, "1 channels height width"]:
    """`values` where `known`; elsewhere the mean of what is known around, the nearer the finer (Gortler et al., The
    Lumigraph, 1996, section 3.5). Something has to be known."""
    if bool(known.all()):
        return values
    weight = known.to(values.dtype)
    share = F.avg_pool2d(weight, 2, ceil_mode=True)
    means = F.avg_pool2d(values * weight, 2, ceil_mode=True) / share.clamp(min=1e-6)
    coarse = pull_push(means, share > 0.0)
    size = (values.shape[2], values.shape[3])
    return torch.where(known, values, F.interpolate(coarse, size=size, mode="bilinear", align_corners=False))


def from_pil(image: PIL.Image.Image) -> Float[Tensor, "channels height width"]:
    """An 8-bit RGB, RGBA or L image as float32 in 0..1."""
    pixels = np.array(image, dtype=np.uint8)
    return torch.from_numpy(pixels).reshape(image.height, image.width, -1).permute(2, 0, 1).float() / 255.0


def to_pil(pixels: UInt8[Tensor, "height width channels"]) -> PIL.Image.Image:
    """RGB or RGBA, by the number of channels."""
    return PIL.Image.fromarray(pixels.cpu().numpy())
