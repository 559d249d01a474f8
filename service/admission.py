"""From an uploaded form to a queued job. Everything is checked before anything is stored or queued."""

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import structlog
from fastapi import UploadFile

from jobs.errors import InvalidImage, JobsError
from jobs.images import CheckedPicture, PictureLimits, check_mask, check_picture
from jobs.objects import ObjectStore, input_key, input_prefix
from jobs.schema import InputKeys, JobSpec, Record
from jobs.store import JobStore, new_job_id
from service.errors import Problem
from service.schemas import FieldError, TransferForm

RANDOM_SEEDS = 2**53
"""Drawn seeds stay below this, so that clients that read numbers as doubles can send them back."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Admission:
    store: JobStore
    objects: ObjectStore
    limits: PictureLimits

    def admit(self, form: TransferForm, tenant: str) -> Record:
        """Queues the job. Blocks: call it in a thread.

        Raises Problem for pictures that are refused, and what the stores raise; then nothing stays behind.
        """
        pictures = check_pictures(form, self.limits)
        job_id = new_job_id()
        keys = {name: input_key(tenant, job_id, f"{name}.png") for name in pictures}
        spec = JobSpec(
            kind="transfer",
            inputs=InputKeys(
                target=keys["target"],
                reference=keys["reference"],
                target_mask=keys.get("target_mask"),
                reference_mask=keys.get("reference_mask"),
            ),
            params=form.params,
            prompt=form.prompt,
            negative_prompt=form.negative_prompt,
            seed=secrets.randbelow(RANDOM_SEEDS) if form.seed is None else form.seed,
        )
        try:
            for name, picture in pictures.items():
                self.objects.put(keys[name], picture.png, "image/png")
            return self.store.submit(spec, job_id=job_id, tenant=tenant)
        except BaseException:
            self._forget_inputs(tenant, job_id)
            raise

    def _forget_inputs(self, tenant: str, job_id: str) -> None:
        try:
            self.objects.delete_prefix(input_prefix(tenant, job_id))
        except JobsError:
            log.warning("inputs.orphaned", job_id=job_id)


def check_pictures(form: TransferForm, limits: PictureLimits) -> dict[str, CheckedPicture]:
    """The given pictures by field name. Raises one Problem that names every refused one."""
    pictures: dict[str, CheckedPicture] = {}
    refused: list[FieldError] = []

    def check(name: str, upload: UploadFile, judge: Callable[[bytes], CheckedPicture]) -> None:
        try:
            # One byte over the cap is enough to refuse a file without reading all of it.
            pictures[name] = judge(upload.file.read(limits.max_bytes + 1))
        except InvalidImage as error:
            refused.append(FieldError(pointer=f"/{name}", code=error.code, message=str(error)))

    check("target", form.target, lambda data: check_picture(data, limits))
    check("reference", form.reference, lambda data: check_picture(data, limits))
    for name, mask in (("target", form.target_mask), ("reference", form.reference_mask)):
        if mask is not None and name in pictures:
            size = (pictures[name].width, pictures[name].height)
            check(f"{name}_mask", mask, partial(check_mask, limits=limits, size=size))
    if refused:
        first = refused[0]
        raise Problem(first.code, f"{first.pointer}: {first.message}", errors=refused)
    return pictures
