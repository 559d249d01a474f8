"""Mask selection, and regions: parts of the target that take from different references, or all of it from one.

An uploaded mask, a selection by box, points or text, and saliency become one mask of weights for each picture; masks
become regions on canvases that do not overlap.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from core.errors import EmptyMaskError, ModelMissingError, PictureMissingError, ShapeError
from core.images.canvas import FAINT, check_image, fit_canvas, on_matte, stretch_canvas
from core.images.geometry import resize, token_at
from core.masks.foreground import find_thing
from core.models.models import Models
from core.params.selection import Region, Selection
from core.params.transfer import MaskMode
from core.types import Canvas, Image, ImageMask, Mask, UploadedMask


def select_mask(
    models: Models, image: Image, uploaded: UploadedMask | None, selection: Selection, *, mode: MaskMode, role: str
) -> ImageMask | None:
    """As `select_surely`, the mask alone, where no other picture is known."""
    return select_surely(models, image, uploaded, selection, mode=mode, role=role, other=None)[0]


def select_surely(
    models: Models,
    image: Image,
    uploaded: UploadedMask | None,
    selection: Selection,
    *,
    mode: MaskMode,
    role: str,
    other: Tensor | None,
) -> tuple[ImageMask | None, float | None]:
    """The mask of one picture at its own size, without its alpha; None where nothing restricts it. With it, where mode
    `auto` found it, how surely, 0 to 1; there `other` is the picture that shows the same thing.

    Raises ShapeError, EmptyMaskError and ModelMissingError.
    """
    check_image(image, uploaded, role)
    if mode == "none":
        return None, None
    picture, _ = on_matte(image)
    confidence = None
    masks = [] if uploaded is None else [uploaded]
    if selection.pointed:
        masks.append(_outline(models, picture, selection))
    if selection.text:
        masks.append(_find(models, picture, selection.text, role))
    if not masks and mode == "auto":
        found = find_thing(models, picture, None if other is None else on_matte(other)[0], role)
        confidence = found.confidence
        masks.append(found.weights)
    if not masks:
        return None, None
    mask = reduce(torch.mul, masks)
    if selection.invert:
        mask = 1.0 - mask
    if float(mask.max()) <= 0.0:
        raise EmptyMaskError(f"the masks and selections of the {role} leave no pixel")
    return mask, confidence


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
    target_confidence: float | None = None
    """How surely `auto` found the target's, 0 to 1; None where it was given."""
    reference_confidence: float | None = None


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


@dataclass(frozen=True)
class Canvases:
    """All pictures at the working size."""

    target: Canvas
    """Its mask is all that is repainted."""
    references: tuple[Canvas, ...]
    """One for every region."""
    target_masks: tuple[Mask, ...]
    """Where in the target's canvas every region lies; they do not overlap."""


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
    for number, region in enumerate(regions, start=1):
        own = region.reference is None
        picture = reference if region.reference is None else named.picture(region.reference)
        here, there = f"target in region {number}", f"reference of region {number}"
        target_mask = select_mask(
            models, target, named.mask(region.target_mask), region.target_selection, mode=mode, role=here
        )
        reference_mask = select_mask(
            models, picture, named.mask(region.reference_mask), region.reference_selection, mode=mode, role=there
        )
        target_mask = intersection(target_mask, masks.target)
        reference_mask = intersection(reference_mask, masks.reference) if own else reference_mask
        selected.append(SelectedRegion(picture, target_mask, reference_mask, region.scale))
    return selected


def intersection(mask: Tensor | None, other: Tensor | None) -> Tensor | None:
    """What two masks of one picture have in common; None is everything."""
    if mask is None or other is None:
        return other if mask is None else mask
    return mask * other


def union(regions: Sequence[SelectedRegion]) -> ImageMask | None:
    """Everything that is repainted, as weights; None where a region is everything."""
    open_to: Tensor | None = None
    for region in regions:
        if region.target_mask is None:
            return None
        left = 1.0 - region.target_mask
        open_to = left if open_to is None else open_to * left
    return None if open_to is None else 1.0 - open_to


def place_regions(target: Image, regions: Sequence[SelectedRegion], size: tuple[int, int]) -> Canvases:
    """Target and references on canvases of `size` (height, width), and which part of it each region owns.

    Raises ShapeError and EmptyMaskError: the latter also for a region that later ones cover wholly.
    """
    canvas = stretch_canvas(target, union(regions), size)
    references = tuple(fit_canvas(region.reference, region.reference_mask, size) for region in regions)
    if len(regions) == 1:
        return Canvases(canvas, references, (canvas.mask,))
    alpha = on_matte(target)[1]
    owned = _owned(target, regions)
    return Canvases(canvas, references, tuple(resize((mine * alpha)[None], size)[0] for mine in owned))


def _owned(target: Image, regions: Sequence[SelectedRegion]) -> list[Tensor]:
    """For every region 1 where it is the one that shows most with the later ones on top of it, else 0."""
    size = (target.shape[1], target.shape[2])
    shown: list[Tensor] = []
    free = torch.ones(size, device=target.device)
    for number in range(len(regions) - 1, -1, -1):
        mask = regions[number].target_mask
        if mask is not None and mask.shape != size:
            raise ShapeError(f"the mask of region {number + 1} has not the target's size")
        weight = torch.ones(size, device=target.device) if mask is None else mask
        shown.insert(0, weight * free)
        free = free * (1.0 - weight)
    stacked = torch.stack(shown)
    best = stacked.max(dim=0)
    owned = [((best.indices == number) & (best.values > FAINT)).float() for number in range(len(regions))]
    for number, mine in enumerate(owned, start=1):
        if not bool(mine.any()):
            raise EmptyMaskError(f"nothing is left of region {number}: its mask is empty, or later regions cover it")
    return owned


def inside(mask: Float[Tensor, "height width"], places: Float[Tensor, "places 2"]) -> Bool[Tensor, " places"]:
    """Which places (x, y), fractions of the canvas, lie where the mask's weight is a half at least."""
    return mask.flatten()[token_at(places, (mask.shape[0], mask.shape[1]))] >= 0.5
