"""The request for a batch: fields for all of its jobs, and the pictures of each."""

from typing import Annotated, ClassVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from core.params.selection import PictureName
from jobs.inputs import MASKS_MAX, PICTURES_MAX, by_part
from jobs.schema import JobKind, Metadata, Prompt, Seed
from jobs.stores.batches import BATCH_MAX
from service.schemas.strict_json import NeverNull, never_null, no_other_names
from service.schemas.submission import ImageFields, Seeds, one_or_several

CustomId = Annotated[str, Field(min_length=1, max_length=64)]


class AssetPicture(BaseModel):
    """A picture that was uploaded as an asset."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    asset: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    """Its `id`."""


NamedPictures = Annotated[dict[PictureName, AssetPicture], Field(max_length=PICTURES_MAX)]
NamedMasks = Annotated[dict[PictureName, AssetPicture], Field(max_length=MASKS_MAX)]


class BatchJob(BaseModel):
    """One job of a batch. What is absent is taken from the batch."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    custom_id: CustomId
    """Your own name for it, which comes back with its state and its result. No two of a batch have the same."""

    target: AssetPicture
    """The picture that is repainted."""

    reference: Annotated[AssetPicture | None, NeverNull] = Field(default=None, json_schema_extra=never_null)
    """The picture whose appearance it takes."""

    target_mask: Annotated[AssetPicture | None, NeverNull] = Field(default=None, json_schema_extra=never_null)
    """What takes part, of the target's size: white = inside."""

    reference_mask: Annotated[AssetPicture | None, NeverNull] = Field(default=None, json_schema_extra=never_null)
    """Where matches may be found, of the reference's size: white = inside. The batch's own goes with the batch's
    reference only."""

    pictures: NamedPictures = Field(default_factory=dict, json_schema_extra=no_other_names)
    """Pictures that regions name, by these names; in place of the batch's of the same name."""

    masks: NamedMasks = Field(default_factory=dict, json_schema_extra=no_other_names)
    """Masks that regions name, by these names, each of the size of its picture: white = inside; in place of the batch's
    of the same name."""

    seed: Annotated[Seed | None, NeverNull] = Field(default=None, json_schema_extra=never_null)
    seeds: Annotated[Seeds | None, NeverNull, AfterValidator(one_or_several)] = Field(
        default=None, json_schema_extra=never_null
    )
    """In place of `seed`, and of the batch's: one picture for each, made in the same run."""

    prompt: Annotated[Prompt | None, NeverNull] = Field(default=None, json_schema_extra=never_null)
    negative_prompt: Annotated[Prompt | None, NeverNull] = Field(default=None, json_schema_extra=never_null)
    metadata: Annotated[Metadata | None, NeverNull] = Field(default=None, json_schema_extra=never_null)

    @property
    def asked_seeds(self) -> list[int]:
        """Empty: the batch's, or a drawn one."""
        return self.seeds or ([] if self.seed is None else [self.seed])


class BatchRequest(ImageFields):
    """Many transfers: one reference onto many targets, or pairs. A field that is not listed here is refused."""

    kind: ClassVar[JobKind] = JobKind.TRANSFER

    reference: Annotated[AssetPicture | None, NeverNull] = Field(default=None, json_schema_extra=never_null)
    """Of every job that names none of its own."""

    reference_mask: Annotated[AssetPicture | None, NeverNull] = Field(default=None, json_schema_extra=never_null)
    """What of that reference is used, of its size: white = inside."""

    pictures: NamedPictures = Field(default_factory=dict, json_schema_extra=no_other_names)
    """Pictures that regions name, by these names, for every job."""

    masks: NamedMasks = Field(default_factory=dict, json_schema_extra=no_other_names)
    """Masks that regions name, by these names, for every job: each of the size of its picture, white = inside."""

    items: Annotated[list[BatchJob], Field(min_length=1, max_length=BATCH_MAX)]
    """The jobs, in the order in which they are queued."""

    @model_validator(mode="after")
    def _names_differ(self) -> "BatchRequest":
        seen: set[str] = set()
        for item in self.items:
            if item.custom_id in seen:
                raise PydanticCustomError("custom_id_repeated", "A `custom_id` is given twice.")
            seen.add(item.custom_id)
        return self

    @model_validator(mode="after")
    def _each_has_a_reference(self) -> "BatchRequest":
        if self.reference is None and any(item.reference is None for item in self.items):
            raise PydanticCustomError("reference_missing", "A job without a `reference` needs one of the batch.")
        return self

    def assets_of(self, item: BatchJob) -> dict[str, str]:
        """Asset of each picture of a job, by its part."""
        own = item.reference is not None
        found = {
            "target": item.target,
            "reference": item.reference if own else self.reference,
            "target_mask": item.target_mask,
            "reference_mask": item.reference_mask or (None if own else self.reference_mask),
            **by_part(self.pictures, self.masks),
            **by_part(item.pictures, item.masks),
        }
        return {name: picture.asset for name, picture in found.items() if picture is not None}
