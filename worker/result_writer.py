"""Writes the results of one attempt as objects under keys of its own, and describes them for the job's record."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from core.pipeline import MatchResult, TransferInputs, TransferResult
from jobs.objects import ObjectStore, result_key
from jobs.schema import Claim, JobResult, ModelIdentity, StoredFile, StoredMask, StoredVariant
from worker.pictures import Encoded, EncodedMask, ImageWriting, encode_masks, encode_result
from worker.retries import StoreRetries

Results = Sequence[TransferResult | MatchResult]
"""One for each seed."""


@dataclass(frozen=True)
class StoredResults:
    """Objects that can be read already; sizes are the target's, in pixels."""

    width: int
    height: int
    files: list[tuple[int, dict[str, StoredFile]]]
    """Seed, and the files of its result by `image`, `matches` and `matches_picture`."""
    masks: dict[str, StoredMask]
    keeps_profile: bool

    def as_result(self, model: ModelIdentity, timings: Mapping[str, float]) -> JobResult:
        """The result for the record. `timings` in milliseconds by phase."""
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
            color_profile="target" if self.keeps_profile else "srgb",
            more=tuple(StoredVariant(seed=other, **files) for other, files in more),
        )


class ResultWriter:
    """Writes for one attempt. Raises ObjectsUnavailable when the store stays away longer than `retries` wait."""

    def __init__(self, claim: Claim, objects: ObjectStore, retries: StoreRetries) -> None:
        self._claim = claim
        self._objects = objects
        self._retries = retries

    def write(self, inputs: TransferInputs, results: Results, *, mark: bool) -> StoredResults:
        """Seed by seed, so that only one seed's files are in memory beside the results. With `mark` pictures are marked
        as made with a model."""
        writing = self._writing(mark)
        _, height, width = inputs.target.shape
        files = []
        for number, result in enumerate(results):
            encoded = encode_result(inputs, result, writing)
            suffix = f"-{result.seed}" if number else ""
            files.append((result.seed, {name: self._write_file(file, suffix) for name, file in encoded.items()}))
        masks = {name: self._write_mask(name, mask) for name, mask in encode_masks(results[0].masks).items()}
        return StoredResults(width, height, files, masks, writing.keeps_profile)

    def _writing(self, mark: bool) -> ImageWriting:
        spec, target = self._claim.record.spec, None
        if spec.output.color_profile == "target":
            target = self._retries(lambda: self._objects.get(spec.inputs.target))
        return ImageWriting(spec.output, mark, target)

    def _write_file(self, file: Encoded, suffix: str) -> StoredFile:
        stem, dot, ending = file.name.rpartition(".")
        key = self._put(f"{stem}{suffix}{dot}{ending}", file.data, file.content_type)
        sha256 = hashlib.sha256(file.data).hexdigest()
        return StoredFile(key=key, content_type=file.content_type, bytes=len(file.data), sha256=sha256)

    def _write_mask(self, name: str, mask: EncodedMask) -> StoredMask:
        return StoredMask(key=self._put(f"mask-{name}.png", mask.png, "image/png"), coverage=mask.coverage)

    def _put(self, name: str, data: bytes, content_type: str) -> str:
        record = self._claim.record
        key = result_key(record.tenant, record.id, self._claim.attempt, name)
        self._retries(lambda: self._objects.put(key, data, content_type))
        return key
