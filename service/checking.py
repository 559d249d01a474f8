"""Every picture of a submission, decoded and checked: one answer names all that are refused."""

from collections.abc import Callable, Iterable, Mapping
from functools import partial

from jobs.assets import Asset
from jobs.decoders import Decoders
from jobs.errors import InvalidImage
from jobs.images import CheckedPicture
from jobs.named import Expected
from jobs.schema import Output
from service.errors import refuse
from service.parts import Pointer
from service.schemas import FieldError
from service.sources import Given

LARGEST_PICTURES = 4
"""A job may have as many pixels as so many pictures of the largest size; those of a mask, which is grey, count for a
quarter. Target, reference and their masks alone never reach it."""


def check_pictures(
    given: Mapping[str, Given], expected: Expected, decoders: Decoders, pointer: Pointer
) -> dict[str, CheckedPicture]:
    """The given pictures by part. Raises one Problem that names every refused one."""
    pictures: dict[str, CheckedPicture] = {}
    refused: list[FieldError] = []

    def check(part: str, judge: Callable[[bytes], CheckedPicture]) -> None:
        try:
            pictures[part] = judge(given[part].read())
            sizes = ((one.width, one.height, other in expected.all_masks) for other, one in pictures.items())
            require_room(sizes, decoders)
        except InvalidImage as error:
            refused.append(FieldError(pointer=pointer(part), code=error.code, message=str(error)))
            pictures.pop(part, None)

    for part in expected.all_pictures:
        asset = given[part].asset
        check(part, decoders.check_picture if asset is None else partial(_checked_before, asset))
    for part, owner in expected.all_masks.items():
        if part in given and owner in pictures:
            size = (pictures[owner].width, pictures[owner].height)
            check(part, partial(decoders.check_mask, size=size))
    refuse(refused)
    return pictures


def require_room(sizes: Iterable[tuple[int, int, bool]], decoders: Decoders) -> None:
    """Raises InvalidImage when the pictures of one job have too many pixels together: width, height and whether it is
    a mask, of each."""
    quarters = sum(width * height * (1 if mask else 4) for width, height, mask in sizes)
    bound = LARGEST_PICTURES * decoders.limits.max_pixels
    if quarters > 4 * bound:
        raise InvalidImage("image_too_many_pixels", f"the pictures of one job may have {bound} pixels together")


def transparency_refused(output: Output, has_alpha: bool) -> bool:
    """Whether the picture would have to lose what nobody said how to replace."""
    return output.format == "jpeg" and output.background is None and has_alpha


def _checked_before(asset: Asset, png: bytes) -> CheckedPicture:
    return CheckedPicture(png, asset.width, asset.height, asset.has_alpha)
