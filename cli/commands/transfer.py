"""`plumage transfer`: one picture, computed in this process."""

import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from cli.options import INPUT_FILE, OUTPUT_FILE, SEED, named_options, param_option, picture_arguments, preset_option
from cli.output import check_writable, replace_file
from cli.params import describe_params, read_params
from cli.pictures import read_named, read_pictures
from core.params.transfer import TransferParams
from jobs.schema import Output
from jobs.settings import JobSettings


def list_params(context: click.Context, parameter: click.Parameter, wanted: bool) -> None:
    """Prints the parameters and ends the command, if `wanted`."""
    if wanted:
        click.echo(describe_params())
        context.exit()


@click.command()
@picture_arguments
@click.option("-o", "--out", type=OUTPUT_FILE, required=True, help="Where the PNG goes.")
@click.option(
    "--seed",
    "seeds",
    type=SEED,
    multiple=True,
    help="Same seed, same picture; several make several, OUT-SEED.png, in one run. [default: random, printed]",
)
@preset_option
@click.option("--prompt", default="", help="What the picture shows, if it helps.")
@click.option("--negative-prompt", default="", help="What to stay away from; works with guidance only.")
@click.option("--target-mask", type=INPUT_FILE, help="White = what to repaint; of the target's size.")
@click.option(
    "--reference-mask", type=INPUT_FILE, help="White = where appearance may come from; of the reference's size."
)
@named_options
@click.option("--masks-out", type=click.Path(file_okay=False, path_type=Path), help="Folder for the masks used.")
@param_option
@click.option("--list-params", is_flag=True, is_eager=True, expose_value=False, callback=list_params)
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


@dataclass(frozen=True)
class Prompts:
    prompt: str
    negative: str


@dataclass(frozen=True)
class Repainted:
    seed: int
    png: bytes
    masks: dict[str, bytes]
    """PNGs of the masks that were used, by the picture's name."""


def repaint(
    pictures: Mapping[str, bytes], params: TransferParams, prompts: Prompts, seeds: Sequence[int]
) -> Iterator[Repainted]:
    """The finished picture of every seed, with a progress bar on stderr. Raises Failed when the weights or the transfer
    fail."""
    from cli.engine import running_models
    from core.images.canvas import to_pil
    from core.pipeline import transfer_variants
    from worker.pictures import ImageWriting, decode_inputs, encode_image, encode_masks

    with running_models("transfer") as (loaded, bar):

        def on_step(step: int, steps: int, preview: object) -> None:
            bar.show("transfer", step, steps)

        inputs = decode_inputs(pictures, prompts.prompt, prompts.negative)
        results = transfer_variants(loaded.models, inputs, params, seeds=seeds, on_step=on_step)
    writing = ImageWriting(Output(), mark=JobSettings().mark_results)
    for result in results:
        masks = {name: mask.png for name, mask in encode_masks(result.masks).items()}
        yield Repainted(result.seed, encode_image(to_pil(result.image), writing), masks)
