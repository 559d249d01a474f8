"""Arguments and options that several commands have."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from cli.errors import BadInput
from core.params.presets import PRESET_NAMES

INPUT_FILE = click.Path(dir_okay=False, path_type=Path)
OUTPUT_FILE = click.Path(path_type=Path)
SEED = click.IntRange(0, 2**63 - 1)
UNITS_S = {"h": 3600, "d": 86_400}

Function = TypeVar("Function", bound=Callable[..., Any])

preset_option = click.option("--preset", type=click.Choice(PRESET_NAMES), help="Parameters to start from.")
param_option = click.option(
    "--param", "assignments", multiple=True, metavar="KEY=VALUE", help="A parameter; may be repeated."
)


def picture_arguments(command: Function) -> Function:
    """TARGET and REFERENCE."""
    return click.argument("target", type=INPUT_FILE)(click.argument("reference", type=INPUT_FILE)(command))


def named_options(command: Function) -> Function:
    """`--picture` and `--mask`, which regions name."""
    for option, parameter, text in (
        ("--mask", "named_masks", "A mask that a region names."),
        ("--picture", "named_pictures", "A picture that a region names."),
    ):
        command = click.option(option, parameter, multiple=True, metavar="NAME=FILE", help=text)(command)
    return command


def data_dir_option(text: str) -> Callable[[Function], Function]:
    """`--data-dir`, with `text` as its help."""
    folder = click.Path(file_okay=False, path_type=Path)
    return click.option("--data-dir", type=folder, default=Path("data"), show_default=True, help=text)


def read_seconds(text: str) -> int:
    """Seconds in `12h` or `90d`. Raises BadInput for anything else."""
    number, unit = text[:-1], text[-1:]
    if not (number.isascii() and number.isdecimal() and unit in UNITS_S):
        raise BadInput(f"{text!r} is no lifetime; 12h or 90d would be", "bad_lifetime")
    return int(number) * UNITS_S[unit]
