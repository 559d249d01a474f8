"""What is told of a finished job. Models of answers have no defaults: every field is always there."""

from collections.abc import Callable
from datetime import datetime
from typing import Self

from pydantic import BaseModel, ConfigDict

from jobs.schema import JobResult, ModelIdentity, StoredFile, StoredVariant


class Answer(BaseModel):
    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)


class UsedMask(Answer):
    """What took part of one picture."""

    coverage: float
    """Share of the picture, 0 to 1; grey counts by its weight."""
    url: str
    """A grey PNG of the picture's size: white took part."""


class File(Answer):
    """Something that a job has made."""

    url: str
    """A link that needs no key. Whoever has it can fetch the file until `url_expires_at`, as long as the job exists."""
    url_expires_at: datetime
    content_type: str
    bytes: int
    sha256: str
    """In hex; also the ETag."""


FileOf = Callable[[StoredFile], File]
"""Knows how to make links."""


class Variant(File):
    """A finished picture, which also lies at `urls.result` with `?seed=`."""

    seed: int
    matches: File
    """Its correspondence map."""
    matches_picture: File

    @classmethod
    def of(cls, stored: StoredVariant, file: FileOf) -> Self:
        return cls(
            **file(stored.image).model_dump(),
            seed=stored.seed,
            matches=file(stored.matches),
            matches_picture=file(stored.matches_picture),
        )


class Result(File):
    """The finished picture, which also lies at `urls.result`."""

    width: int
    height: int
    seed: int
    model: ModelIdentity
    timings: dict[str, float]
    """Milliseconds by phase."""
    matches: File
    """The correspondence map as NumPy's .npz: `positions` [rows, columns, 2], for each token of the target the matched
    place in the reference as (x, y), fractions of its width and height; `similarity` [rows, columns], the cosine of the
    match; `inside` [rows, columns], whether the token lies inside the target's mask; `confidence` [rows, columns], how
    far the match was believed, 0 to 1; `region` [rows, columns], which region, from 0, has the token: its positions are
    places in that region's reference."""
    matches_picture: File
    """The same for people, PNG: both pictures side by side, what belongs together in one colour."""

    masks: dict[str, UsedMask]
    """The masks that were used, by picture, `target` and `reference`. A picture that took part whole has none."""
    variants: list[Variant]
    """The picture of each seed, in their order. The first is the one above."""

    @classmethod
    def of(cls, result: JobResult, file: FileOf, self_url: str) -> Self:
        masks = {
            name: UsedMask(coverage=mask.coverage, url=f"{self_url}/masks/{name}")
            for name, mask in result.masks.items()
        }
        variants = [Variant.of(stored, file) for stored in result.variants]
        return cls(
            **variants[0].model_dump(),
            **result.model_dump(include={"width", "height", "model", "timings"}),
            masks=masks,
            variants=variants,
        )


class MatchingResult(File):
    """The correspondence map, which also lies at `urls.result`. NumPy's .npz: `positions` [rows, columns, 2], for each
    token of the target the matched place in the reference as (x, y), fractions of its width and height; `similarity`
    [rows, columns], the cosine of the match; `inside` [rows, columns], whether the token lies inside the target's mask;
    `confidence` [rows, columns], how far the match was believed, 0 to 1; `region` [rows, columns], which region, from
    0, has the token: its positions are places in that region's reference."""

    seed: int
    model: ModelIdentity
    timings: dict[str, float]
    """Milliseconds by phase."""
    picture: File
    """The map for people, PNG: both pictures side by side, what belongs together in one colour."""

    @classmethod
    def of(cls, result: JobResult, file: FileOf) -> Self:
        return cls(
            **file(result.matches).model_dump(),
            **result.model_dump(include={"seed", "model", "timings"}),
            picture=file(result.matches_picture),
        )
