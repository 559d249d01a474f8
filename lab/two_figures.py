"""Two figures in one picture, each painted from a reference of its own: does every one wear its own colours?

    python -m lab.two_figures --scenes 6 --json two-figures.json [--true-matches] [--sheet two-figures.png]

Both figures and both references are of one category, so that every part of one could be taken for the same part of the
other. By figure, over its pixels that are judged: `colour_accuracy` as everywhere, and `bleeding`, the share that shows
the colour which the *other* reference would have given (within CIEDE2000 10 of it, and not of its own truth).
"""

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from checkpoints.load import load
from checkpoints.settings import ModelSettings
from core.masks.regions import UNMASKED, Named
from core.matching.correspondence import Correspondence
from core.matching.one_shot import match_regions
from core.models.models import Models
from core.params.transfer import TransferParams, with_values
from core.pipeline import Figure, Stopwatch, TransferInputs, build_scenes
from lab.baselines.case import Bytes, correspondence_at_tokens, figure, picture, repaint_figures
from lab.evaluation.plan import token_pitch_px
from lab.metrics.colour import LIMIT
from lab.metrics.colour_space import ciede2000, srgb_to_lab
from lab.metrics.judge import Judge
from lab.metrics.matches import Grid
from lab.metrics.regions import Flags, counted_parts
from lab.pairs import Pair, sample_pair
from lab.scenes import Category, Domain, render

CATEGORIES = len(Category)
REGIONS = (
    {"target_mask": "left", "reference": "for_left", "reference_mask": "in_left"},
    {"target_mask": "right", "reference": "for_right", "reference_mask": "in_right"},
)


@dataclass(frozen=True)
class TwoFigures:
    """Two pairs of one category; their targets stand side by side in one picture."""

    left: Pair
    right: Pair

    @property
    def target(self) -> Tensor:
        """RGB `[3, side, 2 side]` in 0..1."""
        return torch.cat([picture(self.left.target), picture(self.right.target)], dim=2)

    @property
    def named(self) -> Named:
        """What the regions name."""
        here, there = figure(self.left.target), figure(self.right.target)
        empty = torch.zeros_like(here)
        pictures = {"for_left": picture(self.left.reference), "for_right": picture(self.right.reference)}
        masks = {
            "left": torch.cat([here, empty], dim=1),
            "right": torch.cat([empty, there], dim=1),
            "in_left": figure(self.left.reference),
            "in_right": figure(self.right.reference),
        }
        return Named(pictures, masks)


def sample_two_figures(domain: Domain, seed: int, size: int) -> TwoFigures:
    """Both pairs have the category that `seed` has among single pairs."""
    return TwoFigures(sample_pair(domain, seed, size), sample_pair(domain, seed + 1000 * CATEGORIES, size))


def repaint(
    models: Models, figures: TwoFigures, params: TransferParams, seed: int, *, true_matches: bool = False
) -> tuple[Bytes, Bytes]:
    """The results of both figures, each of its own pair's target's size, out of one run."""
    params = with_values(params, {"masks.regions": REGIONS}).resolved()
    inputs = TransferInputs(figures.target, picture(figures.left.reference), UNMASKED, figures.named)
    painted, _, _ = build_scenes(models, inputs, params, Stopwatch(time.perf_counter, models.device))
    maps = [match_regions(one.scene, params.matching, seed)[0] for one in painted]
    if true_matches:
        maps = [true_correspondence(figures, one, found.grid) for one, found in zip(painted, maps, strict=True)]
    image = repaint_figures(painted, inputs.target, maps, params, seed)
    half = image.shape[1] // 2
    return image[:, :half], image[:, half:]


def true_correspondence(figures: TwoFigures, one: Figure, grid: Grid) -> Correspondence:
    """The renderer's correspondence of one figure, on a grid over its canvas: that of the half of the target in which
    its region lies."""
    side = one.selected.number
    left, top, width, height = one.scene.target.box
    half = (left + side * width / 2, top, width / 2, height)
    return correspondence_at_tokens(_both(figures)[side].correspondence, grid, half, one.scene.regions[0].reference.box)


def judge(scene: TwoFigures, results: Sequence[Bytes], token_pitch_px: float) -> list[dict[str, float]]:
    """Figures of both halves."""
    rows = []
    for pair, other, result in zip(_both(scene), reversed(_both(scene)), results, strict=True):
        counted = np.logical_or.reduce([part.counted for part in counted_parts(pair)])
        swapped = render(pair.target_scene.wearing(other.reference_scene), len(pair.target.image)).image
        found = Judge(pair, token_pitch_px=token_pitch_px)(result)
        rows.append(
            {
                "colour_accuracy": found["colour_accuracy"].value,
                "structure_rate": found["structure_rate"].value,
                "background_psnr": found["background_psnr"].value,
                "bleeding": bleeding(result, pair.truth.image, swapped, counted),
            }
        )
    return rows


def bleeding(result: Bytes, truth: Bytes, swapped: Bytes, counted: Flags) -> float:
    """Share of the counted pixels in which the other reference's colour shows, and not the right one."""
    own, other = (ciede2000(srgb_to_lab(result[counted]), srgb_to_lab(image[counted])) for image in (truth, swapped))
    return float(((other < LIMIT) & (own >= LIMIT)).mean())


def _both(scene: TwoFigures) -> tuple[Pair, Pair]:
    return scene.left, scene.right


def sheet(scene: TwoFigures, results: Sequence[Bytes]) -> Bytes:
    """References over targets over results over truths."""
    rows = [
        [pair.reference.image for pair in _both(scene)],
        [pair.target.image for pair in _both(scene)],
        list(results),
        [pair.truth.image for pair in _both(scene)],
    ]
    return np.concatenate([np.concatenate(row, axis=1) for row in rows])


def main() -> None:
    """Measures scenes of the tuning domain with the weights of PLUMAGE_MODEL."""
    parser = argparse.ArgumentParser(prog="python -m lab.two_figures")
    parser.add_argument("--scenes", type=int, default=6)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--true-matches", action="store_true")
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--sheet", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    loaded = load(ModelSettings())
    models = loaded.models
    pitch = token_pitch_px(loaded)
    rows: list[dict[str, Any]] = []
    columns: list[Bytes] = []
    for seed in range(options.seed, options.seed + options.scenes):
        scene = sample_two_figures(Domain.TUNING, seed, models.native_resolution)
        results = repaint(models, scene, TransferParams(), seed, true_matches=options.true_matches)
        for side, figures in zip(("left", "right"), judge(scene, results, pitch), strict=True):
            rows.append({"seed": seed, "side": side, "category": str(scene.left.target_scene.category), **figures})
        columns.append(sheet(scene, results))
    names = ("colour_accuracy", "structure_rate", "background_psnr", "bleeding")
    means = {name: float(np.mean([row[name] for row in rows])) for name in names}
    report = {"true_matches": options.true_matches, "means": means, "figures": rows}
    options.json.write_text(json.dumps(report, indent=1) + "\n")
    if options.sheet is not None:
        Image.fromarray(np.concatenate(columns, axis=1)).save(options.sheet, optimize=True)


if __name__ == "__main__":
    main()
