"""The pictures of a submission: which have to be there, where they come from, and whether they can be used."""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import anyio
from anyio import CapacityLimiter
from anyio.to_thread import run_sync
from fastapi import UploadFile
from starlette.datastructures import UploadFile as ReceivedFile

from jobs.errors import AssetNotFound, ObjectNotFound
from jobs.inputs import PARTS, ExpectedInputs, by_part
from jobs.objects import ObjectStore, asset_key
from jobs.schema import Output
from jobs.stores.assets import Asset, Assets
from service.errors import Problem, refuse
from service.outbound import Outbound, UrlError
from service.schemas.batch_request import BatchRequest
from service.schemas.problem import FieldError
from service.schemas.submission import MatchingForm, NamedPicture, Submission, pointer_in_json
from uploads.decoder_pool import DecoderPool
from uploads.errors import InvalidImage
from uploads.images import CheckedPicture

FETCHES_AT_ONCE = 8
"""Of all requests to one process together; each may hold one picture in memory."""
LARGEST_PICTURES = 4
"""A job may have as many pixels as so many pictures of the largest size; those of a mask, which is grey, count for a
quarter. Target, reference and their masks alone never reach it."""
Source = UploadFile | NamedPicture
Pointer = Callable[[str], str]
"""JSON pointer to the field of a part."""

# --- which parts have to be there -----------------------------------------------------------------------------------


def require_parts(form: Submission) -> None:
    """Raises Problem `invalid_request` unless exactly what regions name is there, and as files in a form."""
    expected = ExpectedInputs.of(form.params)
    errors = _missing(expected, form.parts, form.pointer) + _needless(expected, form.parts, form.pointer)
    if isinstance(form, MatchingForm):
        errors += [
            FieldError(pointer=form.pointer(part), code="file_expected", message="A form part with a file name.")
            for part, value in form.parts.items()
            if not isinstance(value, ReceivedFile)
        ]
    refuse(errors, "invalid_request")


def require_parts_of_each(batch: BatchRequest) -> None:
    """Raises Problem `invalid_request` unless every job of the batch has exactly what regions name."""
    expected = ExpectedInputs.of(batch.params)
    errors = _needless(expected, by_part(batch.pictures, batch.masks), pointer_in_json)
    for position, item in enumerate(batch.items):
        errors += _missing(expected, batch.assets_of(item), partial(pointer_to_item, position))
        errors += _needless(expected, by_part(item.pictures, item.masks), partial(pointer_to_item, position))
    refuse(errors, "invalid_request")


def pointer_to_item(position: int, part: str) -> str:
    return f"/items/{position}{pointer_in_json(part)}"


def _missing(expected: ExpectedInputs, given: Iterable[str], pointer: Pointer) -> list[FieldError]:
    missing = expected.missing(given)
    return [FieldError(pointer=pointer(part), code="missing", message="A region names it.") for part in missing]


def _needless(expected: ExpectedInputs, given: Iterable[str], pointer: Pointer) -> list[FieldError]:
    needless = expected.needless(part for part in given if part not in PARTS)
    return [
        FieldError(pointer=pointer(part), code="extra_forbidden", message="No region names it.") for part in needless
    ]


# --- where they come from -------------------------------------------------------------------------------------------


class OpenedPicture(NamedTuple):
    """A picture that can be read."""

    read: Callable[[], bytes]
    """One byte more than allowed at most. May raise Problem `asset_not_found`, ObjectsUnavailable and ObjectCorrupt."""
    asset: Asset | None = None
    """What is known of one that was checked when it was uploaded."""


@dataclass(frozen=True, slots=True)
class PictureSources:
    """Parts of a form, assets and, where that is switched on, URLs."""

    assets: Assets
    objects: ObjectStore
    outbound: Outbound | None
    """None: URLs are refused."""
    fetches: CapacityLimiter
    max_bytes: int
    timeout_s: float
    """For one picture."""

    async def open(self, given: Mapping[str, Source], pointer: Pointer, tenant: str) -> dict[str, OpenedPicture]:
        """The picture of each part. URLs are fetched, all at once; nothing else is read yet.

        Raises Problem `asset_not_found`, `urls_off` or one of a URL, with a pointer to the field, and StoreUnavailable.
        """
        opened: dict[str, OpenedPicture] = {}
        refused: dict[str, Problem] = {}

        async def one(name: str, opening: Awaitable[OpenedPicture]) -> None:
            try:
                opened[name] = await opening
            except Problem as problem:
                refused[name] = problem

        try:
            async with anyio.create_task_group() as tasks:
                for name, source in given.items():
                    tasks.start_soon(one, name, self._open(source, tenant))
        except* Exception as group:
            raise group.exceptions[0] from None  # as it would be raised without tasks
        refuse(
            [
                FieldError(pointer=pointer(name), code=refused[name].code, message=refused[name].detail)
                for name in given
                if name in refused
            ]
        )
        return opened

    def of_asset(self, asset_id: str, tenant: str) -> OpenedPicture:
        """Raises Problem `asset_not_found`, and StoreUnavailable."""
        try:
            asset, _ = self.assets.get(asset_id, tenant=tenant)
        except AssetNotFound as error:
            raise Problem(error.code, str(error)) from error
        return OpenedPicture(partial(self._read, asset, tenant), asset)

    async def _open(self, source: Source, tenant: str) -> OpenedPicture:
        if not isinstance(source, NamedPicture):
            # One byte over the cap is enough to refuse a file without reading all of it.
            return OpenedPicture(partial(source.file.read, self.max_bytes + 1))
        if source.asset is not None:
            return await run_sync(self.of_asset, source.asset, tenant)
        assert source.url is not None
        data = await self._fetched(source.url)
        return OpenedPicture(lambda: data)

    def _read(self, asset: Asset, tenant: str) -> bytes:
        try:
            return self.objects.get(asset_key(tenant, asset.id, asset.copy_id))
        except ObjectNotFound as error:
            raise Problem("asset_not_found") from error

    async def _fetched(self, url: str) -> bytes:
        if self.outbound is None:
            raise Problem("urls_off")
        try:
            async with self.fetches:
                reply = await self.outbound.send("GET", url, max_bytes=self.max_bytes, timeout_s=self.timeout_s)
        except UrlError as error:
            raise Problem(error.code, str(error)) from error
        if reply.status != 200:
            raise Problem("url_unreachable")
        return reply.body


# --- whether they can be used ---------------------------------------------------------------------------------------


def check_pictures(
    opened: Mapping[str, OpenedPicture],
    expected: ExpectedInputs,
    decoders: DecoderPool,
    pointer: Pointer,
    *,
    keep_target_profile: bool = False,
) -> dict[str, CheckedPicture]:
    """The pictures by part, decoded and checked; the target in its own RGB space where that is asked for. Raises one
    Problem that names every refused one."""
    pictures: dict[str, CheckedPicture] = {}
    refused: list[FieldError] = []

    def check(part: str, judge: Callable[[bytes], CheckedPicture]) -> None:
        try:
            pictures[part] = judge(opened[part].read())
            sizes = ((one.width, one.height, other in expected.all_masks) for other, one in pictures.items())
            require_room(sizes, decoders)
        except InvalidImage as error:
            refused.append(FieldError(pointer=pointer(part), code=error.code, message=str(error)))
            pictures.pop(part, None)

    for part in expected.all_pictures:
        asset = opened[part].asset
        keep = keep_target_profile and part == "target"
        decode = partial(decoders.check_picture, keep_profile=keep)
        check(part, decode if asset is None else partial(_checked_before, asset))
    for part, owner in expected.all_masks.items():
        if part in opened and owner in pictures:
            picture = pictures[owner]
            check(part, partial(decoders.check_mask, size=picture.size, scaled_from=picture.scaled_from))
    refuse(refused)
    return pictures


def require_room(sizes: Iterable[tuple[int, int, bool]], decoders: DecoderPool) -> None:
    """Raises InvalidImage when the pictures of one job have too many pixels together: width, height and whether it is
    a mask, of each."""
    quarters = sum(width * height * (1 if mask else 4) for width, height, mask in sizes)
    bound = LARGEST_PICTURES * decoders.limits.max_pixels
    if quarters > 4 * bound:
        raise InvalidImage("image_too_many_pixels", f"the pictures of one job may have {bound} pixels together")


def transparency_refused(output: Output, has_alpha: bool) -> bool:
    """Whether the target is transparent, the file cannot be, and no colour is given to put behind it."""
    return output.format == "jpeg" and output.background is None and has_alpha


def _checked_before(asset: Asset, png: bytes) -> CheckedPicture:
    return CheckedPicture(png, asset.width, asset.height, asset.has_alpha, asset.scaled_from)
