"""`plumage explain`: where one place of the target matched, layer by layer and step by step."""

from pathlib import Path

import click

from core.params.presets import PRESET_NAMES

PICTURE = click.Path(dir_okay=False, path_type=Path)


@click.command()
@click.argument("target", type=PICTURE)
@click.argument("reference", type=PICTURE)
@click.option(
    "--at", type=(click.FloatRange(0, 1), click.FloatRange(0, 1)), required=True, help="The place: X Y, 0 to 1."
)
@click.option("-o", "--out", type=click.Path(path_type=Path), required=True, help="Where the PNG goes.")
@click.option("--json", "numbers", type=click.Path(path_type=Path), help="Where the same as numbers goes.")
@click.option(
    "--layer", "layers", multiple=True, help="A layer or block to look at. [default: those that are injected]"
)
@click.option("--seed", type=click.IntRange(0, 2**63 - 1), default=0, show_default=True, help="Seed of the noise.")
@click.option("--target-mask", type=PICTURE, help="White = what takes part; of the target's size.")
@click.option("--reference-mask", type=PICTURE, help="White = what takes part; of the reference's size.")
@click.option("--preset", type=click.Choice(PRESET_NAMES), help="Parameters to start from.")
@click.option("--picture", "named_pictures", multiple=True, metavar="NAME=FILE", help="A picture that a region names.")
@click.option("--mask", "named_masks", multiple=True, metavar="NAME=FILE", help="A mask that a region names.")
@click.option("--param", "assignments", multiple=True, metavar="KEY=VALUE", help="A parameter; may be repeated.")
def explain(
    target: Path,
    reference: Path,
    at: tuple[float, float],
    out: Path,
    numbers: Path | None,
    layers: tuple[str, ...],
    seed: int,
    target_mask: Path | None,
    reference_mask: Path | None,
    preset: str | None,
    named_pictures: tuple[str, ...],
    named_masks: tuple[str, ...],
    assignments: tuple[str, ...],
) -> None:
    """Run the transfer of TARGET from REFERENCE, and show where one place of TARGET matched at each layer and step."""
    from cli.commands.explanation import explain_place
    from cli.engine import read_named, read_pictures
    from cli.io import check_writable, replace_file
    from cli.params import read_params

    check_writable(out)
    if numbers is not None:
        check_writable(numbers, ".json")
    params = read_params(assignments, preset)
    named = read_named(named_pictures, named_masks)
    pictures = read_pictures(target, reference, target_mask, reference_mask, params, named)
    shown = explain_place(pictures, params, at, seed, layers)
    replace_file(out, shown.png)
    if numbers is not None:
        replace_file(numbers, shown.json)
