"""`plumage models`: whether the weights are the ones that were trusted."""

from pathlib import Path

import click

from checkpoints.errors import CheckpointError
from checkpoints.hub import MODELS, Source, files_here, has_manifest, source_of, verified
from checkpoints.hub import pin as pin_source
from checkpoints.settings import ModelSettings
from cli.errors import BadInput, Failed
from cli.settings import setting_errors

folder_argument = click.argument(
    "folder", required=False, type=click.Path(exists=True, file_okay=False, path_type=Path), metavar="[FOLDER]"
)


@click.group()
def models() -> None:
    """Compare the files of models with their manifests, or write these."""


@models.command()
@folder_argument
def verify(folder: Path | None) -> None:
    """Read every file of FOLDER, or of all models that this environment chooses, and compare it with the manifest.

    Exit code 1 when a file was changed, added or removed, or there is no manifest.
    """
    wrong = False
    for source in _sources(folder):
        here = files_here(source)
        try:
            if here is None:
                state = "has not been downloaded"
            elif not has_manifest(source):
                state, wrong = "has no manifest; `plumage models pin` writes one", True
            else:
                state = f"{len(verified(source, here) or ())} files, as in the manifest"
        except CheckpointError as error:
            state, wrong = str(error), True
        click.echo(f"{source.name}: {state}")
    if wrong:
        raise Failed("not all models are as in their manifests", "bad_checkpoint")


@models.command()
@folder_argument
def pin(folder: Path | None) -> None:
    """Trust the files as they are now: write the manifest of FOLDER, or of all models that this environment chooses."""
    for source in _sources(folder):
        try:
            path, count = pin_source(source)
        except CheckpointError as error:
            raise BadInput(str(error), "bad_checkpoint") from error
        except OSError as error:
            raise Failed(f"{error.filename}: {error.strerror}", "cannot_write") from error
        click.echo(f"{path}: {count} files")


def _sources(folder: Path | None) -> list[Source]:
    with setting_errors():
        settings = ModelSettings() if folder is None else ModelSettings(model=str(folder), manifests=None)
    chosen = MODELS if folder is None else MODELS[:1]
    try:
        return [source for model in chosen if (source := source_of(settings, model)) is not None]
    except CheckpointError as error:
        raise BadInput(str(error), "bad_checkpoint") from error
