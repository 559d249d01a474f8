"""Files in, PNG out, with the models in this process: what `plumage transfer` computes."""

import io
from dataclasses import dataclass
from pathlib import Path

from PIL import Image
from torch import Tensor

from checkpoints.errors import CheckpointError
from checkpoints.load import LoadedModels, load
from checkpoints.settings import ModelSettings
from cli.errors import BadInput, Failed
from cli.progress import progress_bar
from cli.settings import explained
from core.errors import CoreError
from core.params import TransferParams
from core.pipeline import Masks, Preview
from core.pipeline import transfer as run_transfer
from core.pixels import from_pil, to_pil
from jobs.errors import InvalidImage
from jobs.images import CheckedPicture, PictureLimits, check_mask, check_picture
from jobs.schema import Output
from worker.pictures import encode_image, encode_masks


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


@dataclass(frozen=True)
class Repainted:
    png: bytes
    masks: dict[str, bytes]
    """PNGs of the masks that were used, by the picture's name."""


def read_pictures(target: Path, reference: Path, target_mask: Path | None, reference_mask: Path | None) -> Pictures:
    """Checked by the rules of the HTTP API. Raises BadInput that names the file."""
    checked_target = _read(target)
    checked_reference = _read(reference)
    return Pictures(
        checked_target,
        checked_reference,
        _read(target_mask, checked_target) if target_mask else None,
        _read(reference_mask, checked_reference) if reference_mask else None,
    )


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


def repaint(pictures: Pictures, params: TransferParams, prompts: Prompts, seed: int) -> Repainted:
    """The finished picture, with a progress bar on stderr. Raises Failed when the weights or the transfer fail."""
    with progress_bar() as bar:
        bar.say("loading the model")
        loaded = load_models()
        bar.say("transfer")

        def on_step(step: int, steps: int, preview: Preview) -> None:
            bar.show("transfer", {"step": step, "steps": steps})

        masks = Masks(_mask(pictures.target_mask), _mask(pictures.reference_mask))
        try:
            result = run_transfer(
                loaded.models,
                from_pil(_decode(pictures.target)),
                from_pil(_decode(pictures.reference)),
                params,
                prompt=prompts.prompt,
                negative_prompt=prompts.negative,
                masks=masks,
                seed=seed,
                on_step=on_step,
            )
        except CoreError as error:
            raise Failed(str(error), error.code) from error
    masks_used = {name: mask.png for name, mask in encode_masks(result.masks).items()}
    return Repainted(encode_image(to_pil(result.image), Output()), masks_used)


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
