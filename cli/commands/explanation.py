"""Files in, the matches of one place out as a sheet of pictures: what `plumage explain` computes."""

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw

from cli.engine import Pictures, as_tensors, load_models
from cli.errors import Failed
from cli.io import progress_bar
from core.errors import CoreError
from core.explain import Explanation
from core.explain import explain as run_explain
from core.images.canvas import to_pil
from core.params.selection import Place
from core.params.transfer import TransferParams

CELL_PX = 96
GAP_PX = 6
LABEL_PX = 14
MOST_STEPS = 10
"""Columns of the sheet; of more steps, evenly chosen ones are shown."""
MARK = "#e63c28"


@dataclass(frozen=True)
class Shown:
    png: bytes
    json: bytes


def explain_place(pictures: Pictures, params: TransferParams, place: Place, seed: int, layers: Sequence[str]) -> Shown:
    """Raises Failed when the weights, the run or the place fail."""
    given = as_tensors(pictures)
    with progress_bar() as bar:
        bar.say("loading the model")
        loaded = load_models()
        bar.say("explain")
        try:
            found = run_explain(
                loaded.models,
                given.target,
                given.reference,
                params,
                place,
                masks=given.masks,
                named=given.named,
                seed=seed,
                layers=layers or None,
            )
        except CoreError as error:
            raise Failed(str(error), error.code) from error
    name = params.regions[found.region].reference if params.regions else None
    seen_in = given.reference if name is None else given.named.pictures[name]
    target, reference = (_small(to_pil((p[:3].permute(1, 2, 0) * 255).round().byte())) for p in (given.target, seen_in))
    file = io.BytesIO()
    draw_explanation(target, reference, place, found).save(file, "PNG", optimize=True)
    return Shown(file.getvalue(), json.dumps(_as_numbers(place, found), indent=1).encode())


def draw_explanation(target: Image.Image, reference: Image.Image, place: Place, found: Explanation) -> Image.Image:
    """The target with the place, the reference with its match in the run's own map, and below, by layer (rows) and
    noise level (columns), where each layer matched it. The fuller the mark, the more alike."""
    steps = len(found.noise_levels)
    picked = [round(i * (steps - 1) / max(1, min(steps, MOST_STEPS) - 1)) for i in range(min(steps, MOST_STEPS))]
    wide, high = max(target.width, reference.width) + GAP_PX, max(target.height, reference.height) + LABEL_PX + GAP_PX
    sheet = Image.new("RGB", (GAP_PX + wide * max(2, len(picked)), GAP_PX + high * (1 + len(found.layers))), "white")
    _cell(sheet, target, (GAP_PX, GAP_PX), place, "target", 1.0)
    _cell(sheet, reference, (GAP_PX + wide, GAP_PX), found.used, "used", 1.0)
    for row, layer in enumerate(found.layers):
        for column, step in enumerate(picked):
            x, y = found.places[row, step].tolist()
            label = (
                f"{short_name(layer)} {found.noise_levels[step]:.2f}"
                if column == 0
                else f"{found.noise_levels[step]:.2f}"
            )
            corner = (GAP_PX + wide * column, GAP_PX + high * (1 + row))
            _cell(sheet, reference, corner, (x, y), label, float(found.similarity[row, step]))
    return sheet


def short_name(layer: str) -> str:
    """`up_blocks.0.attentions.1.transformer_blocks.2.attn1` as `up0.1.2`."""
    words = {"down_blocks": "down", "up_blocks": "up", "mid_block": "mid", "attentions": ".", "transformer_blocks": "."}
    return "".join(words.get(part, part) for part in layer.removesuffix(".attn1").split("."))


def _cell(
    sheet: Image.Image, picture: Image.Image, corner: tuple[int, int], place: Place, label: str, cosine: float
) -> None:
    sheet.paste(picture, (corner[0], corner[1] + LABEL_PX))
    draw = ImageDraw.Draw(sheet)
    draw.text(corner, label, fill="black")
    centre = (corner[0] + place[0] * picture.width, corner[1] + LABEL_PX + place[1] * picture.height)
    draw.circle(centre, 6, outline="white", width=3)
    draw.circle(centre, 5, outline=MARK, width=2)
    draw.circle(centre, 5 * max(cosine, 0.0), fill=MARK)


def _small(picture: Image.Image) -> Image.Image:
    picture.thumbnail((CELL_PX, CELL_PX))
    return picture


def _as_numbers(place: Place, found: Explanation) -> dict[str, object]:
    return {
        "place": place,
        "region": found.region,
        "used": found.used,
        "noise_levels": found.noise_levels,
        "layers": {
            layer: {"places": found.places[row].tolist(), "similarity": found.similarity[row].tolist()}
            for row, layer in enumerate(found.layers)
        },
    }
