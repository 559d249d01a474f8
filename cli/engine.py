"""The models in this process, and pictures as they take them. Loads torch."""

import io
from collections.abc import Iterator
from contextlib import contextmanager

from PIL import Image
from torch import Tensor

from checkpoints.errors import CheckpointError
from checkpoints.load import LoadedModels, load
from checkpoints.settings import ModelSettings
from cli.errors import BadInput, Failed
from cli.pictures import Pictures
from cli.progress import ProgressBar, progress_bar
from cli.settings import setting_errors
from core.errors import CoreError
from core.images.canvas import from_pil
from core.masks.regions import Masks
from uploads.images import CheckedPicture
from worker.pictures import Pictures as Tensors
from worker.pictures import decode_named


@contextmanager
def running_models(description: str) -> Iterator[tuple[LoadedModels, ProgressBar]]:
    """The weights that the environment chooses, and a progress bar on stderr that starts with `description`.

    Raises BadInput when the weights cannot be used, and Failed for a CoreError of the block.
    """
    with progress_bar() as bar:
        bar.describe("loading the model")
        loaded = load_models()
        bar.describe(description)
        try:
            yield loaded, bar
        except CoreError as error:
            raise Failed(str(error), error.code) from error


def load_models() -> LoadedModels:
    """The weights that the environment chooses. Raises BadInput when they cannot be used."""
    with setting_errors():
        settings = ModelSettings()
    try:
        return load(settings)
    except CheckpointError as error:
        raise BadInput(str(error), "bad_checkpoint") from error


def as_tensors(pictures: Pictures) -> Tensors:
    """The pictures as `core.pipeline` takes them."""
    masks = Masks(_mask(pictures.target_mask), _mask(pictures.reference_mask))
    named = decode_named({part: picture.png for part, picture in pictures.named.items()})
    return Tensors(from_pil(_decode(pictures.target)), from_pil(_decode(pictures.reference)), masks, named)


def _decode(picture: CheckedPicture) -> Image.Image:
    return Image.open(io.BytesIO(picture.png), formats=("PNG",))


def _mask(mask: CheckedPicture | None) -> Tensor | None:
    return None if mask is None else from_pil(_decode(mask))[0]
