"""What a submission says besides its pictures, strictly read from a form or from JSON."""

import json
from typing import Annotated, Any, ClassVar, TypeGuard

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo
from pydantic_core import PydanticCustomError

from core.params import TransferParams
from jobs.schema import SEEDS_MAX, JobKind, Metadata, Output, Priority, Prompt, Seconds, Seed
from jobs.webhooks import Webhook
from service.strict_json import read_object


def _a_part(value: object, info: ValidationInfo) -> TypeGuard[str]:
    """Whether this is JSON inside a form, and not inside JSON."""
    return info.mode == "python" and isinstance(value, str)


def _read_metadata(value: object, info: ValidationInfo) -> object:
    return read_object(value) if _a_part(value, info) else value


def _strictly(model: type[BaseModel]) -> BeforeValidator:
    """Reads an object, in a form or in JSON, with no string where a number belongs."""

    def read(value: object, info: ValidationInfo) -> object:
        if _a_part(value, info):
            return model.model_validate_json(json.dumps(read_object(value)), strict=True)
        if info.mode == "json" and isinstance(value, dict):
            # Behind a validator of our own it is no JSON any more for pydantic, and a list no tuple.
            return model.model_validate_json(json.dumps(value), strict=True)
        return value

    return BeforeValidator(read)


def never_null(schema: dict[str, Any]) -> None:
    """A form and a query cannot carry null: absent is absent."""
    schema.pop("default", None)
    schema.update(schema.pop("anyOf")[0])


def _not_null(value: object) -> object:
    if value is None:
        raise PydanticCustomError("null", "Leave it away instead.")
    return value


NeverNull = BeforeValidator(_not_null)


class Terms(BaseModel):
    """What a submission says besides its pictures."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)
    kind: ClassVar[JobKind]

    seed: Annotated[Seed | None, NeverNull] = Field(default=None, json_schema_extra=never_null)
    """Seed of all noise. Absent: a random one, which the answer tells."""

    prompt: Prompt = ""
    """What the picture shows, if it helps."""

    negative_prompt: Prompt = ""
    """What to stay away from. Takes effect with classifier-free guidance only."""

    params: Annotated[TransferParams, _strictly(TransferParams)] = Field(default_factory=TransferParams)
    """How the job is computed: a JSON object. Absent fields take their defaults."""

    metadata: Annotated[Metadata, BeforeValidator(_read_metadata)] = Field(default_factory=dict)
    """A JSON object of strings that comes back with the record; at most 16 of up to 512 characters."""

    deadline: Annotated[Seconds | None, NeverNull] = Field(default=None, json_schema_extra=never_null)
    """Seconds. A job that no worker has started by then is `expired`."""

    ttl: Annotated[Seconds | None, NeverNull] = Field(default=None, json_schema_extra=never_null)
    """Seconds. Once over, record and pictures are kept for this long, and never longer than the service keeps them."""

    priority: Priority = 0
    """Among your own waiting jobs the highest goes first."""

    webhook: Annotated[Webhook | None, _strictly(Webhook), NeverNull] = Field(
        default=None, json_schema_extra=never_null
    )
    """A JSON object: where to send what happens to the job, and which of it."""

    @property
    def asked_seeds(self) -> list[int]:
        """Empty: one is to be drawn."""
        return [] if self.seed is None else [self.seed]

    @property
    def pictures_made(self) -> int:
        return len(self.asked_seeds) or 1


def _distinct(seeds: list[int]) -> list[int]:
    if len(set(seeds)) < len(seeds):
        raise PydanticCustomError("seed_repeated", "A seed is given twice.")
    return seeds


Seeds = Annotated[
    list[Seed],
    Field(min_length=1, max_length=SEEDS_MAX, json_schema_extra={"uniqueItems": True}),
    AfterValidator(_distinct),
]


def one_or_several(seeds: list[int] | None, info: ValidationInfo) -> list[int] | None:
    """Of a model whose field `seed` comes before."""
    if seeds is not None and info.data.get("seed") is not None:
        raise PydanticCustomError("seed_and_seeds", "Give `seed` or `seeds`.")
    return seeds


class Painted(Terms):
    """What only a transfer has."""

    seeds: Annotated[Seeds | None, NeverNull, AfterValidator(one_or_several)] = Field(
        default=None, json_schema_extra=never_null
    )
    """In place of `seed`: one picture for each, made in the same run. A form repeats the part."""

    output: Annotated[Output, _strictly(Output)] = Output()
    """How the finished picture is written: a JSON object. Absent: PNG."""

    @property
    def asked_seeds(self) -> list[int]:
        return self.seeds or super().asked_seeds
