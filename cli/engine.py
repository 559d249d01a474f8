"""Files in, PNG out, with the models in this process: what `plumage transfer` computes."""

import io
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image
from torch import Tensor

from checkpoints.errors import CheckpointError
from checkpoints.load import LoadedModels, load
from checkpoints.settings import ModelSettings
from cli.errors import BadInput, Failed
from cli.io import progress_bar
from cli.settings import explained
from core.errors import CoreError
from core.images.canvas import from_pil, to_pil
from core.masks.regions import Masks
from core.params.transfer import TransferParams
from core.pipeline import Preview, transfer_variants
from jobs.inputs import MASK, PART_PATTERN, PICTURE, ExpectedInputs
from jobs.schema import Output
from uploads.errors import InvalidImage
from uploads.images import CheckedPicture, PictureLimits, check_mask, check_picture
from worker.pictures import Pictures as Tensors
from worker.pictures import decode_named, encode_image, encode_masks


@dataclass(frozen=True)
class Prompts:
    prompt: str
    negative: str


@dataclass(frozen=True)
class Pictures:
    target: CheckedPicture
    reference: CheckedPicture
    target_mask: CheckedPicture | None
    reference_mask: CheckedPicture | None
    named: Mapping[str, CheckedPicture] = field(default_factory=dict)
    """Those that regions name, by the names of their parts in a form, `picture_NAME` and `mask_NAME`."""


@dataclass(frozen=True)
class Repainted:
    seed: int
    png: bytes
    masks: dict[str, bytes]
    """PNGs of the masks that were used, by the picture's name."""


def read_pictures(
    target: Path,
    reference: Path,
    target_mask: Path | None,
    reference_mask: Path | None,
    params: TransferParams,
    named: Mapping[str, Path],
) -> Pictures:
    """Checked by the rules of the HTTP API. Raises BadInput that names the file, or what a region names in vain."""
    expected = ExpectedInputs.of(params)
    for option, what in [(part, "needed by a region") for part in expected.missing(named)] + [
        (part, "named by no region") for part in expected.needless(named)
    ]:
        kind, _, name = option.partition("_")
        raise BadInput(f"--{kind} {name}=FILE: {what}", "bad_named_picture")
    known = {"target": _read(target), "reference": _read(reference)}
    known |= {part: _read(named[part]) for part in expected.pictures}
    masks = {part: _read(named[part], known[owner]) for part, owner in expected.masks.items()}
    return Pictures(
        known["target"],
        known["reference"],
        _read(target_mask, known["target"]) if target_mask else None,
        _read(reference_mask, known["reference"]) if reference_mask else None,
        {**{part: known[part] for part in expected.pictures}, **masks},
    )


def read_named(pictures: Sequence[str], masks: Sequence[str]) -> dict[str, Path]:
    """`NAME=FILE` of the command line by the names of parts. Raises BadInput."""
    found: dict[str, Path] = {}
    for prefix, given in ((PICTURE, pictures), (MASK, masks)):
        for assignment in given:
            name, equals, path = assignment.partition("=")
            if not equals or not path or not re.fullmatch(PART_PATTERN, prefix + name):
                raise BadInput(f"--{prefix[:-1]} {assignment}: NAME=FILE expected", "bad_named_picture")
            if prefix + name in found:
                raise BadInput(f"--{prefix[:-1]} {name} is given twice", "bad_named_picture")
            found[prefix + name] = Path(path)
    return found


def _read(path: Path, masked: CheckedPicture | None = None) -> CheckedPicture:
    limits = PictureLimits()
    try:
        data = path.read_bytes()
        if masked is None:
            return check_picture(data, limits)
        return check_mask(data, limits, (masked.width, masked.height))
    except OSError as error:
        raise BadInput(f"{path}: {error.strerror}", "file_not_found") from error
    except InvalidImage as error:
        raise BadInput(f"{path}: {error}", error.code) from error


def repaint(pictures: Pictures, params: TransferParams, prompts: Prompts, seeds: Sequence[int]) -> Iterator[Repainted]:
    """The finished picture of every seed, with a progress bar on stderr. Raises Failed when the weights or the transfer
    fail."""
    with progress_bar() as bar:
        bar.say("loading the model")
        loaded = load_models()
        bar.say("transfer")

        def on_step(step: int, steps: int, preview: Preview) -> None:
            bar.show("transfer", {"step": step, "steps": steps})

        given = as_tensors(pictures)
        try:
            results = transfer_variants(
                loaded.models,
                given.target,
                given.reference,
                params,
                prompt=prompts.prompt,
                negative_prompt=prompts.negative,
                masks=given.masks,
                named=given.named,
                seeds=seeds,
                on_step=on_step,
            )
        except CoreError as error:
            raise Failed(str(error), error.code) from error
    for result in results:
        masks = {name: mask.png for name, mask in encode_masks(result.masks).items()}
        yield Repainted(result.seed, encode_image(to_pil(result.image), Output()), masks)


def as_tensors(pictures: Pictures) -> Tensors:
    """The pictures as `core.pipeline` takes them."""
    masks = Masks(_mask(pictures.target_mask), _mask(pictures.reference_mask))
    named = decode_named({part: picture.png for part, picture in pictures.named.items()})
    return Tensors(from_pil(_decode(pictures.target)), from_pil(_decode(pictures.reference)), masks, named)


def load_models() -> LoadedModels:
    """The weights that the environment chooses. Raises BadInput when they cannot be used."""
    with explained():
        settings = ModelSettings()
    try:
        return load(settings)
    except CheckpointError as error:
        raise BadInput(str(error), "bad_checkpoint") from error


def _decode(picture: CheckedPicture) -> Image.Image:
    return Image.open(io.BytesIO(picture.png), formats=("PNG",))


def _mask(mask: CheckedPicture | None) -> Tensor | None:
    return None if mask is None else from_pil(_decode(mask))[0]
