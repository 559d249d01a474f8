"""Mask selection, and regions: parts of the target that take from different references, or all of it from one.

An uploaded mask, a selection by box, points or text, and saliency become one mask of weights for each picture; masks
become regions on canvases that do not overlap.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from core.errors import EmptyMaskError, ModelMissingError, PictureMissingError, ShapeError
from core.images.canvas import FAINT, check_image, crop_canvas, fit_canvas, on_matte, stretch_canvas, working_size
from core.images.geometry import token_at
from core.masks.saliency import find_foreground
from core.models.models import Models
from core.params.selection import Region, Selection
from core.params.transfer import MaskMode
from core.types import Canvas, Image, ImageMask, UploadedMask


def select_mask(
    models: Models, image: Image, uploaded: UploadedMask | None, selection: Selection, *, mode: MaskMode, role: str
) -> ImageMask | None:
    """The mask of one picture at its own size, without its alpha; None where nothing restricts it.

    Raises ShapeError, EmptyMaskError and ModelMissingError.
    """
    check_image(image, uploaded, role)
    if mode == "none":
        return None
    masks = [] if uploaded is None else [uploaded]
    if selection.pointed:
        masks.append(_outline(models, on_matte(image), selection))
    if selection.text:
        masks.append(_find(models, on_matte(image), selection.text, role))
    if not masks and mode == "auto":
        masks.append(find_foreground(models, on_matte(image)))
    if not masks:
        return None
    mask = reduce(torch.mul, masks)
    if selection.invert:
        mask = 1.0 - mask
    if float(mask.max()) <= 0.0:
        raise EmptyMaskError(f"the masks and selections of the {role} leave no pixel")
    return mask


def _outline(models: Models, picture: Float[Tensor, "3 height width"], selection: Selection) -> ImageMask:
    if models.segmenter is None:
        raise ModelMissingError("segmenter")
    return models.segmenter.outline(
        picture, box=selection.box, points=selection.points, points_off=selection.points_off
    )


def _find(models: Models, picture: Float[Tensor, "3 height width"], text: str, role: str) -> ImageMask:
    if models.text_segmenter is None:
        raise ModelMissingError("text_segmenter")
    found = models.text_segmenter.find(picture, text)
    if float(found.max()) <= 0.0:
        raise EmptyMaskError(f"nothing in the {role} fits the text {text!r}")
    return found


@dataclass(frozen=True)
class Masks:
    """Where each picture takes part, as weights 0 to 1 of that picture's size. None: its alpha, or everywhere."""

    target: Float[Tensor, "target_height target_width"] | None = None
    reference: Float[Tensor, "reference_height reference_width"] | None = None


@dataclass(frozen=True)
class Named:
    """Pictures and masks beside target and reference, by the names that regions use."""

    pictures: Mapping[str, Tensor] = field(default_factory=dict)
    """RGB or RGBA `[channels, height, width]`, 0 to 1."""
    masks: Mapping[str, Tensor] = field(default_factory=dict)
    """Weights `[height, width]`, 0 to 1, of the size of the picture they belong to."""

    def picture(self, name: str) -> Tensor:
        """Raises PictureMissingError."""
        if name not in self.pictures:
            raise PictureMissingError(f"a region names the picture {name!r}, and none is given")
        return self.pictures[name]

    def mask(self, name: str | None) -> Tensor | None:
        """Raises PictureMissingError."""
        if name is None:
            return None
        if name not in self.masks:
            raise PictureMissingError(f"a region names the mask {name!r}, and none is given")
        return self.masks[name]


LABEL_SIDE = 128
"""Cells along the longer side of a picture in which figures are told apart."""
GAP_CELLS = 1
"""Parts nearer to each other than twice this are one figure."""
SMALLEST_FIGURE = 0.1
"""Area, as a share of the largest figure's, from which a part is a figure of its own."""
FIGURES_MAX = 8
UNMASKED = Masks()
NONE_NAMED = Named()


@dataclass(frozen=True)
class SelectedRegion:
    """One region at its pictures' own sizes."""

    reference: Image
    target_mask: Float[Tensor, "target_height target_width"] | None
    """None: all of the target."""
    reference_mask: ImageMask | None
    """None: all of the reference."""
    scale: float = 1.0
    """How far the region goes towards the reference's appearance, 0 to 1."""
    number: int = 0
    """Which region, from 0; several figures may be of one."""


def select_regions(
    models: Models,
    target: Image,
    reference: Tensor,
    masks: Masks,
    regions: Sequence[Region],
    named: Named,
    mode: MaskMode,
) -> list[SelectedRegion]:
    """Every region with its masks; without any, one that is the whole target. `masks` restrict them all: the target's
    every region, the reference's those that take from it.

    Raises PictureMissingError, and the errors of `select_mask`.
    """
    if not regions:
        return [SelectedRegion(reference, masks.target, masks.reference)]
    selected = []
    for number, region in enumerate(regions):
        own = region.reference is None
        picture = reference if region.reference is None else named.picture(region.reference)
        here, there = f"target in region {number + 1}", f"reference of region {number + 1}"
        target_mask = select_mask(
            models, target, named.mask(region.target_mask), region.target_selection, mode=mode, role=here
        )
        reference_mask = select_mask(
            models, picture, named.mask(region.reference_mask), region.reference_selection, mode=mode, role=there
        )
        target_mask = intersection(target_mask, masks.target)
        reference_mask = intersection(reference_mask, masks.reference) if own else reference_mask
        selected.append(SelectedRegion(picture, target_mask, reference_mask, region.scale, number))
    return selected


def intersection(mask: Tensor | None, other: Tensor | None) -> Tensor | None:
    """What two masks of one picture have in common; None is everything."""
    if mask is None or other is None:
        return other if mask is None else mask
    return mask * other


def union(regions: Sequence[SelectedRegion]) -> ImageMask | None:
    """Everything that is repainted, as weights; None where a region is everything."""
    if len(regions) == 1:
        return regions[0].target_mask
    open_to: Tensor | None = None
    for region in regions:
        if region.target_mask is None:
            return None
        left = 1.0 - region.target_mask
        open_to = left if open_to is None else open_to * left
    return None if open_to is None else 1.0 - open_to


def place_figure(
    target: Image, figure: SelectedRegion, resolution: int, multiple: int, *, crop: bool
) -> tuple[Canvas, Canvas]:
    """Canvases of the target and of the figure's reference, with the area of a square of side `resolution`, in
    multiples of `multiple` pixels. With `crop`, a picture that is restricted to a figure shows that figure with a
    margin; any other is there whole. Raises ShapeError and EmptyMaskError."""
    here, there = (crop and _restricts(*one) for one in _masked(target, figure))
    if here:
        size = working_size(1, 1, resolution=resolution, multiple=multiple)
        canvas = crop_canvas(target, figure.target_mask, size, "target")
    else:
        size = working_size(target.shape[1], target.shape[2], resolution=resolution, multiple=multiple)
        canvas = stretch_canvas(target, figure.target_mask, size)
    if there:
        return canvas, crop_canvas(figure.reference, figure.reference_mask, size, "reference")
    return canvas, fit_canvas(figure.reference, figure.reference_mask, size)


def _masked(target: Image, figure: SelectedRegion) -> tuple[tuple[Tensor, Tensor | None], ...]:
    return (target, figure.target_mask), (figure.reference, figure.reference_mask)


def _restricts(image: Image, mask: ImageMask | None) -> bool:
    """Whether a mask or transparency keeps a part of a picture out."""
    return bool((mask is not None and (mask <= 0.0).any()) or (image.shape[0] == 4 and (image[3] <= 0).any()))


def split_figures(target: Image, regions: Sequence[SelectedRegion]) -> list[SelectedRegion]:
    """Regions with one figure each: a mask of several things that lie apart becomes several. Small bits belong to the
    figure nearest to them. Raises ShapeError for a mask of another size, and EmptyMaskError for a region of which
    nothing is left under later ones."""
    size = (target.shape[1], target.shape[2])
    covered = torch.zeros(size, dtype=torch.bool, device=target.device)
    split: list[SelectedRegion] = []
    for region in reversed(regions):
        mask = region.target_mask
        if mask is not None and mask.shape != size:
            raise ShapeError(f"the mask of region {region.number + 1} has not the target's size")
        shown = ~covered if mask is None else (mask > FAINT) & ~covered
        if len(regions) > 1 and not bool(shown.any()):
            raise EmptyMaskError(
                f"nothing is left of region {region.number + 1}: its mask is empty, or later regions cover it"
            )
        parts = [None] if mask is None else separate(mask)
        split = [replace(region, target_mask=part) for part in parts] + split
        covered |= torch.ones_like(covered) if mask is None else mask >= 1.0 - FAINT
    return split


def separate(mask: ImageMask) -> list[ImageMask]:
    """The parts of a mask that lie apart, as masks: connected components at LABEL_SIDE, of at least SMALLEST_FIGURE of
    the largest, each with what is nearest to it. At most FIGURES_MAX; one part is the mask itself."""
    height, width = mask.shape
    shrink = min(1.0, LABEL_SIDE / max(height, width))
    grid = (max(1, round(height * shrink)), max(1, round(width * shrink)))
    cells = F.adaptive_max_pool2d((mask > FAINT).float()[None, None], grid)
    labels = connected_components(F.max_pool2d(cells, 2 * GAP_CELLS + 1, stride=1, padding=GAP_CELLS))
    area = F.interpolate(mask[None, None], size=grid, mode="area") * cells
    found = labels[cells > 0.0].unique()
    sizes = torch.stack([area[labels == label].sum() for label in found]) if len(found) else torch.zeros(0)
    order = sizes.argsort(descending=True)[:FIGURES_MAX]
    kept = [found[index] for index in order.tolist() if float(sizes[index]) >= SMALLEST_FIGURE * float(sizes.max())]
    if len(kept) <= 1:
        return [mask]
    seeds = labels * torch.isin(labels, torch.stack(kept)) * cells
    cells = nearest_label(seeds)
    return [mask * F.interpolate((cells == label).byte(), size=(height, width))[0, 0] for label in kept]


def connected_components(
    cells: Float[Tensor, "1 1 rows columns"],
) -> Float[Tensor, "1 1 rows columns"]:
    """A label from 1 for every cell that is 1, the same for cells that touch, also at corners; 0 elsewhere."""
    labels = (
        torch.arange(1.0, cells.numel() + 1.0, device=cells.device, dtype=torch.float64).reshape(cells.shape) * cells
    )
    while True:
        spread = F.max_pool2d(labels, 3, stride=1, padding=1) * cells
        if torch.equal(spread, labels):
            return labels
        labels = spread


def nearest_label(labels: Float[Tensor, "1 1 rows columns"]) -> Float[Tensor, "1 1 rows columns"]:
    """Labels where they are; elsewhere, where it is 0, that of the nearest labelled cell (in steps of one cell, also
    diagonal). One cell has to have a label."""
    while bool((labels == 0.0).any()):
        labels = torch.where(labels > 0.0, labels, F.max_pool2d(labels, 3, stride=1, padding=1))
    return labels


def inside(mask: Float[Tensor, "height width"], places: Float[Tensor, "places 2"]) -> Bool[Tensor, " places"]:
    """Which places (x, y), fractions of the canvas, lie where the mask's weight is a half at least."""
    return mask.flatten()[token_at(places, (mask.shape[0], mask.shape[1]))] >= 0.5
