"""A strip of pictures of one pair: what was given, the correspondence drawn, and every result, in equal cells."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from PIL import Image

from lab.baselines import Case
from lab.baselines.case import Bytes
from lab.evaluation.places import draw_places, matched_colours, place_colours

CELL_PX = 256
PAPER = (255, 255, 255)
GIVEN = ("target", "reference", "places", "matched")
TRUTH = "truth"


def column_names(methods: Sequence[str], with_truth: bool) -> list[str]:
    """What the pictures of a strip are, in their order."""
    return [*GIVEN, *((TRUTH,) if with_truth else ()), *methods]


def draw_strip(
    case: Case, truth: Sequence[Bytes | None], results: Mapping[str, Bytes], methods: Sequence[str]
) -> Bytes:
    """Target, reference, the correspondence drawn, the truth where the run shows one, and the results of `methods`,
    side by side; what the pair lacks leaves an empty cell."""
    target, reference = case.scene.target, case.scene.regions[0].reference
    own, other = (_bytes(canvas.picture) for canvas in (target, reference))
    inside, there = ((canvas.mask > 0.5).cpu().numpy().astype(np.uint8) for canvas in (target, reference))
    colours = place_colours(there)
    matched = matched_colours(case.own_correspondence, colours, (inside.shape[0], inside.shape[1]))
    drawn = [own, other, draw_places(other, there, colours), draw_places(own, inside, matched), *truth]
    return np.concatenate([_cell(shown) for shown in [*drawn, *(results.get(name) for name in methods)]], axis=1)


def _cell(shown: Bytes | None) -> Bytes:
    """A picture as large as a cell allows, in its middle."""
    cell = Image.new("RGB", (CELL_PX, CELL_PX), PAPER)
    if shown is not None:
        scale = CELL_PX / max(shown.shape[:2])
        width, height = (max(1, round(side * scale)) for side in (shown.shape[1], shown.shape[0]))
        small = Image.fromarray(shown).resize((width, height), Image.Resampling.LANCZOS)
        cell.paste(small, ((CELL_PX - width) // 2, (CELL_PX - height) // 2))
    return np.asarray(cell)


def _bytes(shown: torch.Tensor) -> Bytes:
    pixels: Bytes = (shown * 255.0).round().to(torch.uint8).permute(1, 2, 0).cpu().numpy()
    return pixels
