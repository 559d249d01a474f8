"""The models in this process. Loads torch."""

from collections.abc import Iterator
from contextlib import contextmanager

from checkpoints.errors import CheckpointError
from checkpoints.load import LoadedModels, load
from checkpoints.settings import ModelSettings
from cli.errors import BadInput, Failed
from cli.progress import ProgressBar, progress_bar
from cli.settings import setting_errors
from core.errors import CoreError


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
