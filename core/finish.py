"""The verb `finish`: what was sampled at the working size becomes pixels of the target's own size.

The working size carries shapes and colours, not sharpness. So the reference's own pixels are warped by the same
correspondence at the target's own size: the *proposal*. What the network changed of the proposal at the working size is
enlarged and added to it, and the whole is set into the target through its mask. Tiles bound the memory.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor

from core.images.canvas import alpha_of, cut, extrapolate, feather_part, on_matte, resized_on_matte
from core.images.color import keep_lightness
from core.images.geometry import resize, resize_strips, token_mask, unit_range
from core.images.shading import shading_gain
from core.masks.regions import SelectedRegion
from core.matching.correspondence import Correspondence
from core.matching.warp import DenseFlow
from core.models.vae import decode_latent
from core.params.transfer import LatentParams, OutputParams
from core.scene import Scene
from core.types import Canvas, Image, ImageMask, Latent, Picture

TILE_PX = 512 * 1024
"""Pixels that are warped at once."""
OVERSAMPLED = 4
"""Places along a canvas pixel's side at which a proposal is computed, at most, before it is encoded."""
SOURCE_MAX_PX = 16 * 1024 * 1024
"""Pixels of a reference's window that are warped; a larger one is scaled down to them."""
MIXED_EDGE = 1 / 256
"""How far inside its outline a figure's pixels mix with what is behind it, as a share of the figure's window."""


SourcePicture = Float[Tensor, "3 source_height source_width"]
"""A reference, or its window, as it is warped."""


@dataclass(frozen=True)
class Rectangle:
    """A part of the target, in its pixels."""

    left: int
    top: int
    width: int
    height: int


def window_of(canvas: Canvas, image: Image) -> tuple[float, float, float, float]:
    """Left, top, width, height, in the image's pixels, of what a canvas shows."""
    width, height = image.shape[2] / canvas.box[2], image.shape[1] / canvas.box[3]
    return -canvas.box[0] * width, -canvas.box[1] * height, width, height


class Proposal:
    """One figure's reference, warped onto the target at the target's own size, under the target's shading; without a
    correspondence, the target itself."""

    def __init__(
        self, scene: Scene, target: Image, figure: SelectedRegion, found: Correspondence | None, params: LatentParams
    ) -> None:
        self._target, self._mask = target, figure.target_mask
        region = scene.regions[0]
        self._window = window_of(scene.target, target)
        self._scale = region.scale
        if found is None:
            self._scale = 0.0
            return
        inside = token_mask(region.target_mask, found.grid)
        self._flow = DenseFlow(found, inside, scene.target.picture)
        self._source = self._own_pixels(region.reference, figure, found)
        self._confidence = None
        if found.confidence is not None:
            self._confidence = found.confidence.unflatten(0, found.grid)[None, None]
        self._gain: Tensor | None = None
        if params.shading_strength > 0.0:
            rows, columns = scene.target.picture.shape[1:]
            small = self._warped(self._fractions(rows, columns), None, self._reduced((rows, columns)))
            gain = shading_gain(small, scene.target.picture, region.target_mask)
            self._gain = (params.shading_strength * gain)[None, None]

    @classmethod
    def of_target(cls, scene: Scene, target: Image, figure: SelectedRegion) -> "Proposal":
        """The target itself, for runs that warp nothing."""
        return cls(scene, target, figure, None, LatentParams())

    @staticmethod
    def _fractions(height: int, width: int) -> tuple[Tensor, Tensor]:
        y, x = ((torch.arange(side) + 0.5) / side for side in (height, width))
        return y, x

    def _own_pixels(self, canvas: Canvas, figure: SelectedRegion, found: Correspondence) -> Picture:
        """The reference's window at its own size, low-passed where the target shows it smaller, its colours
        extrapolated beyond its mask."""
        window = [round(value) for value in window_of(canvas, figure.reference)]
        width, height = window[2:]
        shown = cut(figure.reference, *window)
        inside = cut(alpha_of(figure.reference)[None], *window, beyond=0.0)
        if figure.reference_mask is not None:
            inside = inside * cut(figure.reference_mask[None], *window, beyond=0.0)
        linear = found.local_affine.slopes
        shrink = float(torch.linalg.det(linear).abs().clamp(min=1e-6).sqrt().median())
        ratio = shrink * (width * height / (self._window[2] * self._window[3])) ** 0.5
        ratio = max(ratio, (width * height / SOURCE_MAX_PX) ** 0.5)
        size = (height, width) if ratio <= 1.0 else (max(1, round(height / ratio)), max(1, round(width / ratio)))
        patch = resized_on_matte(shown, size)
        inside = resize(inside, size)
        margin = max(1, round(MIXED_EDGE * max(patch.shape[1:])))
        return extrapolate(patch, inside[0], margin)

    def _reduced(self, size: tuple[int, int]) -> SourcePicture:
        """The reference low-passed for a canvas of `size` (height, width)."""
        shrink = max(1.0, self._window[3] / size[0])
        _, height, width = self._source.shape
        return resize(self._source, (max(1, round(height / shrink)), max(1, round(width / shrink))))

    def _warped(
        self, fractions: tuple[Tensor, Tensor], guide: Picture | None, source: SourcePicture
    ) -> Float[Tensor, "3 part_height part_width"]:
        """The reference at the places that match rows and columns given as fractions of the target's canvas."""
        flow = self._flow.at(*fractions, guide).to(source.dtype)
        source = source.to(flow.device)[None]
        moved = F.grid_sample(source, flow[None], mode="bicubic", padding_mode="border", align_corners=False)
        return moved[0].clamp(0.0, 1.0)

    def at(self, part: Rectangle) -> Picture:
        """The proposal in a part of the target: the target itself as far as a match is not trusted or the region's
        scale is below 1."""
        own = self._own(part)
        if self._scale == 0.0:
            return own
        weight: Tensor | float = self._scale
        if self._confidence is not None:
            weight = self._scale * sample_plane(self._confidence, *self._places(part))
        return own + weight * (self._shaded(self._places(part), own, self._source) - own)

    def _shaded(self, fractions: tuple[Tensor, Tensor], guide: Picture, source: SourcePicture) -> Picture:
        """The warped reference under the target's shading; `guide` is the target there."""
        moved = self._warped(fractions, guide, source)
        if self._gain is None:
            return moved
        return (moved * sample_plane(self._gain, *fractions).exp()).clamp(0.0, 1.0)

    def _own(self, part: Rectangle) -> Picture:
        return on_matte(cut(self._target, part.left, part.top, part.width, part.height))

    def _places(self, part: Rectangle) -> tuple[Tensor, Tensor]:
        """Rows and columns of a part of the target as fractions of the canvas."""
        left, top, width, height = self._window
        y = (torch.arange(part.top, part.top + part.height) + 0.5 - top) / height
        return y, (torch.arange(part.left, part.left + part.width) + 0.5 - left) / width

    @property
    def extent(self) -> Rectangle:
        """The part of the target in which the figure lies."""
        height, width = self._target.shape[1:]
        left, top, across, down = self._window
        x0, y0 = max(0, int(left)), max(0, int(top))
        x1, y1 = min(width, int(left + across) + 1), min(height, int(top + down) + 1)
        if self._mask is not None:
            rows, columns = ((self._mask > 0.0).any(axis).nonzero()[:, 0] for axis in (1, 0))
            y0, y1 = max(y0, int(rows[0])), min(y1, int(rows[-1]) + 1)
            x0, x1 = max(x0, int(columns[0])), min(x1, int(columns[-1]) + 1)
        return Rectangle(x0, y0, x1 - x0, y1 - y0)

    def on_canvas(self, canvas: Canvas, mask: Float[Tensor, "height width"]) -> Picture:
        """The target's canvas with the warped reference inside `mask`, computed at up to OVERSAMPLED places along a
        canvas pixel's side, as many as the target has, and averaged."""
        rows, columns = canvas.picture.shape[1:]
        left, top, width, height = (round(value) for value in self._window)
        times = min(OVERSAMPLED, max(1, math.ceil(height / rows)))
        size = (rows * times, columns * times)
        guide = resized_on_matte(cut(self._target, left, top, width, height), size)
        source = self._reduced(size)
        y, x = self._fractions(*size)
        step = max(1, TILE_PX // size[1])
        strips = (
            self._shaded((y[top : top + step], x), guide[:, top : top + step], source)
            for top in range(0, size[0], step)
        )
        shown = resize_strips(strips, (rows, columns))
        return torch.lerp(canvas.picture, shown.to(canvas.picture), mask)


def sample_plane(plane: Float[Tensor, "1 channels rows columns"], y: Tensor, x: Tensor) -> Tensor:
    """A plane, bilinearly, at rows `y` and columns `x` that are fractions of it. `[height, width]` for one channel."""
    grid = torch.stack(torch.meshgrid(x * 2.0 - 1.0, y * 2.0 - 1.0, indexing="xy"), dim=-1)[None].to(plane)
    sampled = F.grid_sample(plane, grid, mode="bilinear", padding_mode="border", align_corners=False)[0]
    return sampled[0] if len(sampled) == 1 else sampled


def tiles(part: Rectangle) -> Iterator[Rectangle]:
    """A part in strips of at most TILE_PX pixels."""
    rows = max(1, TILE_PX // part.width)
    for top in range(part.top, part.top + part.height, rows):
        yield Rectangle(part.left, top, part.width, min(rows, part.top + part.height - top))


@dataclass(frozen=True)
class Finished:
    """One figure after sampling."""

    scene: Scene
    proposal: Proposal
    proposed: Latent
    """The proposal as a latent: what would be sampled if the network changed nothing."""
    latent: Latent
    """What was sampled."""
    mask: ImageMask | None


def stitch(
    target: Image, figures: list[Finished], params: OutputParams
) -> UInt8[Tensor, "image_height image_width image_channels"]:
    """The target with every figure set into it through its mask, later ones on top; its alpha is kept. Where all masks
    are 0 the target's bytes stay exactly. Raises NonFiniteError."""
    channels, height, width = target.shape
    image = torch.empty(height, width, channels, dtype=torch.uint8)
    result = image.permute(2, 0, 1)
    for tile in tiles(Rectangle(0, 0, width, height)):
        strip = slice(tile.top, tile.top + tile.height)
        result[:, strip] = in_bytes(target[:, strip])
    for figure in figures:
        vae = figure.scene.models.vae
        changed = (decode_latent(vae, figure.latent) - decode_latent(vae, figure.proposed)).cpu()[None]
        left, top, across, down = window_of(figure.scene.target, target)
        for part in tiles(figure.proposal.extent):
            rows, columns = slice(part.top, part.top + part.height), slice(part.left, part.left + part.width)
            y = (torch.arange(part.top, part.top + part.height) + 0.5 - top) / down
            x = (torch.arange(part.left, part.left + part.width) + 0.5 - left) / across
            drawn = (figure.proposal.at(part) + sample_plane(changed, y, x)).clamp(0.0, 1.0)
            before = result[:3, rows, columns].float() / 255.0
            if params.keep_lightness:
                drawn = keep_lightness(drawn, unit_range(target[:3, rows, columns]))
            mixed = drawn
            if figure.mask is not None:
                weight = feather_part(figure.mask, params.feather_px, part.left, part.top, part.width, part.height)
                mixed = torch.lerp(before, drawn, weight)
            result[:3, rows, columns] = in_bytes(mixed)
    return image


def in_bytes(image: Image) -> UInt8[Tensor, "image_channels image_height image_width"]:
    """An image as 0 to 255."""
    return image if image.dtype == torch.uint8 else (image * 255.0).round().to(torch.uint8)
