"""`plumage explain`: where one place of the target matched, layer by layer and step by step."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click
from PIL import Image, ImageDraw

from cli.options import INPUT_FILE, OUTPUT_FILE, SEED, named_options, param_option, picture_arguments, preset_option
from cli.output import check_writable, replace_file
from cli.params import read_params
from cli.pictures import read_named, read_pictures
from core.params.selection import Place
from core.params.transfer import TransferParams

if TYPE_CHECKING:
    from torch import Tensor

    from core.explain import Explanation

CELL_PX = 96
GAP_PX = 6
LABEL_PX = 14
MOST_STEPS = 10
"""Columns of the sheet; of more steps, evenly chosen ones are shown."""
MARK = "#e63c28"


@click.command()
@picture_arguments
@click.option(
    "--at", type=(click.FloatRange(0, 1), click.FloatRange(0, 1)), required=True, help="The place: X Y, 0 to 1."
)
@click.option("-o", "--out", type=OUTPUT_FILE, required=True, help="Where the PNG goes.")
@click.option("--json", "numbers", type=OUTPUT_FILE, help="Where the same as numbers goes.")
@click.option(
    "--layer", "layers", multiple=True, help="A layer or block to look at. [default: those that are injected]"
)
@click.option("--seed", type=SEED, default=0, show_default=True, help="Seed of the noise.")
@click.option("--target-mask", type=INPUT_FILE, help="White = what takes part; of the target's size.")
@click.option("--reference-mask", type=INPUT_FILE, help="White = what takes part; of the reference's size.")
@preset_option
@named_options
@param_option
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
    check_writable(out)
    if numbers is not None:
        check_writable(numbers, ".json")
    params = read_params(assignments, preset)
    named = read_named(named_pictures, named_masks)
    pictures = read_pictures(target, reference, target_mask, reference_mask, params, named)
    explained = explain_place(pictures, params, at, seed, layers)
    replace_file(out, explained.png)
    if numbers is not None:
        replace_file(numbers, explained.json)


@dataclass(frozen=True)
class Explained:
    png: bytes
    json: bytes


def explain_place(
    pictures: Mapping[str, bytes], params: TransferParams, place: Place, seed: int, layers: Sequence[str]
) -> Explained:
    """Raises Failed when the weights, the run or the place fail."""
    from cli.engine import running_models
    from core.explain import explain as explain_transfer
    from worker.pictures import decode_inputs

    inputs = decode_inputs(pictures)
    with running_models("explain") as (loaded, _):
        explanation = explain_transfer(loaded.models, inputs, params, place, seed=seed, layers=layers or None)
    regions = params.masks.regions
    name = regions[explanation.region].reference if regions else None
    reference = inputs.reference if name is None else inputs.named.pictures[name]
    file = io.BytesIO()
    draw_explanation(_small(inputs.target), _small(reference), place, explanation).save(file, "PNG", optimize=True)
    return Explained(file.getvalue(), json.dumps(_as_numbers(place, explanation), indent=1).encode())


def draw_explanation(
    target: Image.Image, reference: Image.Image, place: Place, explanation: Explanation
) -> Image.Image:
    """The target with the place, the reference with its match in the run's own map, and below, by layer (rows) and
    noise level (columns), where each layer matched it. The fuller the mark, the more alike."""
    levels = explanation.noise_levels
    shown = min(len(levels), MOST_STEPS)
    steps = [round(i * (len(levels) - 1) / max(1, shown - 1)) for i in range(shown)]
    wide, high = max(target.width, reference.width) + GAP_PX, max(target.height, reference.height) + LABEL_PX + GAP_PX
    sheet = Image.new("RGB", (GAP_PX + wide * max(2, shown), GAP_PX + high * (1 + len(explanation.layers))), "white")
    _draw_cell(sheet, target, (GAP_PX, GAP_PX), place, "target", 1.0)
    used = None if math.isnan(explanation.used[0]) else explanation.used
    _draw_cell(sheet, reference, (GAP_PX + wide, GAP_PX), used, "used", 1.0)
    for row, layer in enumerate(explanation.layers):
        for column, step in enumerate(steps):
            x, y = explanation.places[row, step].tolist()
            label = f"{levels[step]:.2f}" if column else f"{short_name(layer)} {levels[step]:.2f}"
            corner = (GAP_PX + wide * column, GAP_PX + high * (1 + row))
            _draw_cell(sheet, reference, corner, (x, y), label, float(explanation.similarity[row, step]))
    return sheet


def short_name(layer: str) -> str:
    """`up_blocks.0.attentions.1.transformer_blocks.2.attn1` as `up0.1.2`."""
    words = {"down_blocks": "down", "up_blocks": "up", "mid_block": "mid", "attentions": ".", "transformer_blocks": "."}
    return "".join(words.get(part, part) for part in layer.removesuffix(".attn1").split("."))


def _draw_cell(
    sheet: Image.Image, picture: Image.Image, corner: tuple[int, int], place: Place | None, label: str, cosine: float
) -> None:
    """A picture with its label, and a mark at the place where there is one."""
    sheet.paste(picture, (corner[0], corner[1] + LABEL_PX))
    draw = ImageDraw.Draw(sheet)
    draw.text(corner, label, fill="black")
    if place is None:
        return
    centre = (corner[0] + place[0] * picture.width, corner[1] + LABEL_PX + place[1] * picture.height)
    draw.circle(centre, 6, outline="white", width=3)
    draw.circle(centre, 5, outline=MARK, width=2)
    draw.circle(centre, 5 * max(cosine, 0.0), fill=MARK)


def _small(picture: Tensor) -> Image.Image:
    """An RGB picture for a cell, of one of 3 or 4 channels in bytes."""
    from core.images.canvas import to_pil

    small = to_pil(picture[:3].permute(1, 2, 0))
    small.thumbnail((CELL_PX, CELL_PX))
    return small


def _as_numbers(place: Place, explanation: Explanation) -> dict[str, object]:
    return {
        "place": place,
        "region": explanation.region,
        "used": None if math.isnan(explanation.used[0]) else explanation.used,
        "noise_levels": explanation.noise_levels,
        "layers": {
            layer: {"places": explanation.places[row].tolist(), "similarity": explanation.similarity[row].tolist()}
            for row, layer in enumerate(explanation.layers)
        },
    }
