"""What takes part: from everything that a caller says of a picture to one mask of weights."""

from functools import reduce
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from core.canvas import Image, ImageMask, UploadedMask, check_image, on_matte
from core.errors import EmptyMaskError, ModelMissingError
from core.foreground import find_foreground
from core.models import Models
from core.selection import Selection

MaskMode = Literal["given", "auto", "none"]


def choose_mask(
    models: Models, image: Image, uploaded: UploadedMask | None, selection: Selection, *, mode: MaskMode, role: str
) -> ImageMask | None:
    """The mask of one picture at its own size, without its alpha; None where nothing restricts it.

    Raises ShapeError, EmptyMaskError and ModelMissingError.
    """
    check_image(image, uploaded, role)
    if mode == "none":
        return None
    picture, _ = on_matte(image)
    masks = [] if uploaded is None else [uploaded]
    if selection.pointed:
        masks.append(_outline(models, picture, selection))
    if selection.text:
        masks.append(_find(models, picture, selection.text, role))
    if not masks and mode == "auto":
        masks.append(find_foreground(models, picture))
    if not masks:
        return None
    mask = reduce(torch.mul, masks)
    if selection.invert:
        mask = 1.0 - mask
    if float(mask.max()) <= 0.0:
        raise EmptyMaskError(f"what is said of the {role} selects no pixel")
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
