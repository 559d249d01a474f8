"""`plumage match`: who in the reference belongs to whom in the target, without repainting anything."""

import json
from pathlib import Path

import click

PICTURE = click.Path(dir_okay=False, path_type=Path)


@click.command()
@click.argument("target", type=PICTURE)
@click.argument("reference", type=PICTURE)
@click.option("-o", "--out", type=click.Path(path_type=Path), required=True, help="Where the coloured PNG goes.")
@click.option("--map", "numbers", type=click.Path(path_type=Path), help="Where the map goes, as .npz.")
@click.option("--truth", type=PICTURE, help='JSON list of {"target": [x, y], "reference": [x, y]}, 0 to 1: gives PCK.')
@click.option("--seed", type=click.IntRange(0, 2**63 - 1), default=0, show_default=True, help="Seed of the noise.")
@click.option("--target-mask", type=PICTURE, help="White = what takes part; of the target's size.")
@click.option("--reference-mask", type=PICTURE, help="White = what takes part; of the reference's size.")
@click.option("--picture", "named_pictures", multiple=True, metavar="NAME=FILE", help="A picture that a region names.")
@click.option("--mask", "named_masks", multiple=True, metavar="NAME=FILE", help="A mask that a region names.")
@click.option("--param", "assignments", multiple=True, metavar="KEY=VALUE", help="A parameter; may be repeated.")
def match(
    target: Path,
    reference: Path,
    out: Path,
    numbers: Path | None,
    truth: Path | None,
    seed: int,
    target_mask: Path | None,
    reference_mask: Path | None,
    named_pictures: tuple[str, ...],
    named_masks: tuple[str, ...],
    assignments: tuple[str, ...],
) -> None:
    """Match TARGET with REFERENCE: places of one colour belong together. One line of JSON says how alike they are."""
    from cli.commands.correspondence import find_matches, read_truth
    from cli.engine import read_named, read_pictures
    from cli.io import check_writable, replace_file
    from cli.params import read_params

    check_writable(out)
    params = read_params(assignments)
    named = read_named(named_pictures, named_masks)
    pictures = read_pictures(target, reference, target_mask, reference_mask, params, named)
    known = read_truth(truth) if truth else []
    found = find_matches(pictures, params, seed, known)
    replace_file(out, found.png)
    if numbers is not None:
        replace_file(numbers, found.npz)
    click.echo(json.dumps(found.figures))
