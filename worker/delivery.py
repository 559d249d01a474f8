"""What one attempt has made becomes objects under its own keys, and the words for the record."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from core.pipeline import MatchResult, TransferResult
from jobs.objects import ObjectStore, result_key
from jobs.schema import Claim, JobResult, ModelIdentity, StoredFile, StoredMask, StoredVariant
from worker.pictures import Encoded, EncodedMask, Pictures, encode_masks, encode_result

Results = Sequence[TransferResult | MatchResult]
"""One for each seed."""
T = TypeVar("T")


class Patiently(Protocol):
    """Repeats an act while a store is away."""

    def __call__(self, act: Callable[[], T], /) -> T: ...


@dataclass(frozen=True)
class Stored:
    """What can be read already, of a target of this size in pixels."""

    width: int
    height: int
    files: list[tuple[int, dict[str, StoredFile]]]
    """Of each seed."""
    masks: dict[str, StoredMask]

    def as_result(self, model: ModelIdentity, timings: Mapping[str, float]) -> JobResult:
        """`timings` in milliseconds by phase."""
        (seed, first), *more = self.files
        return JobResult(
            width=self.width,
            height=self.height,
            seed=seed,
            model=model,
            timings={name: round(value, 3) for name, value in timings.items()},
            image=first.get("image"),
            matches=first["matches"],
            matches_picture=first["matches_picture"],
            masks=self.masks,
            more=tuple(StoredVariant(seed=other, **files) for other, files in more),
        )


class Delivery:
    """Writes for one attempt. Every method raises what `patiently` raises at last."""

    def __init__(self, claim: Claim, objects: ObjectStore, patiently: Patiently) -> None:
        self._claim = claim
        self._objects = objects
        self._patiently = patiently

    def store(self, pictures: Pictures, results: Results) -> Stored:
        """Seed by seed: of large pictures few are held twice."""
        _, height, width = pictures.target.shape
        files = []
        for number, result in enumerate(results):
            encoded = encode_result(pictures, result, self._claim.record.spec.output)
            suffix = f"-{result.seed}" if number else ""
            files.append((result.seed, {name: self._file(file, suffix) for name, file in encoded.items()}))
        masks = {name: self._mask(name, mask) for name, mask in encode_masks(results[0].masks).items()}
        return Stored(width, height, files, masks)

    def _file(self, file: Encoded, suffix: str) -> StoredFile:
        stem, dot, ending = file.name.rpartition(".")
        key = self._put(f"{stem}{suffix}{dot}{ending}", file.data, file.content_type)
        sha256 = hashlib.sha256(file.data).hexdigest()
        return StoredFile(key=key, content_type=file.content_type, bytes=len(file.data), sha256=sha256)

    def _mask(self, name: str, mask: EncodedMask) -> StoredMask:
        return StoredMask(key=self._put(f"mask-{name}.png", mask.png, "image/png"), coverage=mask.coverage)

    def _put(self, name: str, data: bytes, content_type: str) -> str:
        record = self._claim.record
        key = result_key(record.tenant, record.id, self._claim.attempt, name)
        self._patiently(lambda: self._objects.put(key, data, content_type))
        return key
