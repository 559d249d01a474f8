"""`plumage transfer`: one picture, computed in this process."""

from pathlib import Path

import click

from core.params.presets import PRESET_NAMES

PICTURE = click.Path(dir_okay=False, path_type=Path)


@click.command()
@click.argument("target", type=PICTURE)
@click.argument("reference", type=PICTURE)
@click.option("-o", "--out", type=click.Path(path_type=Path), required=True, help="Where the PNG goes.")
@click.option(
    "--seed",
    "seeds",
    type=click.IntRange(0, 2**63 - 1),
    multiple=True,
    help="Same seed, same picture; several make several, OUT-SEED.png, in one run. [default: random, printed]",
)
@click.option("--preset", type=click.Choice(PRESET_NAMES), help="Parameters to start from.")
@click.option("--prompt", default="", help="What the picture shows, if it helps.")
@click.option("--negative-prompt", default="", help="What to stay away from; works with guidance only.")
@click.option("--target-mask", type=PICTURE, help="White = what to repaint; of the target's size.")
@click.option("--reference-mask", type=PICTURE, help="White = where appearance may come from; of the reference's size.")
@click.option("--picture", "named_pictures", multiple=True, metavar="NAME=FILE", help="A picture that a region names.")
@click.option("--mask", "named_masks", multiple=True, metavar="NAME=FILE", help="A mask that a region names.")
@click.option("--masks-out", type=click.Path(file_okay=False, path_type=Path), help="Folder for the masks used.")
@click.option("--param", "assignments", multiple=True, metavar="KEY=VALUE", help="A parameter; may be repeated.")
@click.option("--list-params", is_flag=True, is_eager=True, expose_value=False, callback=lambda *a: list_params(*a))
def transfer(
    target: Path,
    reference: Path,
    out: Path,
    seeds: tuple[int, ...],
    preset: str | None,
    prompt: str,
    negative_prompt: str,
    target_mask: Path | None,
    reference_mask: Path | None,
    named_pictures: tuple[str, ...],
    named_masks: tuple[str, ...],
    masks_out: Path | None,
    assignments: tuple[str, ...],
) -> None:
    """Repaint TARGET with the appearance of REFERENCE, part by part, in this process.

    The weights are chosen by PLUMAGE_MODEL and its sisters, as for a worker.
    """
    import secrets

    from cli.engine import Prompts, read_named, read_pictures, repaint
    from cli.io import check_writable, replace_file
    from cli.params import read_params

    check_writable(out)
    if masks_out is not None:
        check_writable(masks_out / "target-mask.png")
    params = read_params(assignments, preset)
    named = read_named(named_pictures, named_masks)
    pictures = read_pictures(target, reference, target_mask, reference_mask, params, named)
    chosen = list(dict.fromkeys(seeds)) or [secrets.randbelow(2**32)]
    for repainted in repaint(pictures, params, Prompts(prompt, negative_prompt), chosen):
        place = out if len(chosen) == 1 else out.with_stem(f"{out.stem}-{repainted.seed}")
        replace_file(place, repainted.png)
        if masks_out is not None:
            for name, mask in repainted.masks.items():
                replace_file(masks_out / f"{name}-mask.png", mask)
        click.echo(f"{place} (seed {repainted.seed})", err=True)


def list_params(context: click.Context, parameter: click.Parameter, wanted: bool) -> None:
    if not wanted:
        return
    from cli.params import describe_params

    click.echo(describe_params())
    context.exit()
