"""How well figures of one kind are matched across individuals, by semantic points read by hand on cut-outs.

    python -m lab.photographs.keypoints --points keypoints.json --cutouts CUTOUTS --json result.json

The weights are those of PLUMAGE_MODEL and PLUMAGE_CORRESPONDENCE. `--points` holds, by set and file, `points`, places
(x, y) by name in fractions of the picture's sides, and `faces`: `{"bird": {"wren.png": {"faces": "left", "points":
{"eye": [0.8, 0.2]}}}}`. Each cut-out is set on a square of one grey, its mask given; ordered pairs within a set are
drawn by a seed. Figures are PCK (`lab.metrics.pck`), the mean within each set, then over sets.
"""

import argparse
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from checkpoints.load import load
from checkpoints.settings import ModelSettings
from core.models.models import Models
from core.params.selection import Landmark
from core.params.transfer import TransferParams
from lab.baselines.case import Case
from lab.photographs.folder import Photograph, PhotographPair
from lab.photographs.matches import ALPHAS, score_points

GREY = 225
MARGIN = 1.15
"""Side of the square against the picture's longer side."""
SIDE_PX = 256

Figures = dict[str, float]
"""PCK by the name of its alpha."""


@dataclass(frozen=True)
class PointedCutOut:
    """A cut-out on its square, and its points in fractions of the square's sides."""

    photograph: Photograph
    points: Mapping[str, tuple[float, float]]
    faces: str


def read_pointed(path: Path, points: Mapping[str, tuple[float, float]], faces: str) -> PointedCutOut:
    """A picture with alpha on its square, with its points, given in fractions of the picture's own sides."""
    with Image.open(path) as opened:
        picture = opened.convert("RGBA")
    side = round(MARGIN * max(picture.size))
    left, top = ((side - length) // 2 for length in picture.size)
    alpha = picture.getchannel("A")
    square, mask = Image.new("RGB", (side, side), (GREY,) * 3), Image.new("L", (side, side))
    square.paste(picture, (left, top), alpha)
    mask.paste(alpha, (left, top))
    small = [one.resize((SIDE_PX, SIDE_PX), Image.Resampling.LANCZOS) for one in (square, mask)]
    width, height = picture.size
    moved = {name: ((x * width + left) / side, (y * height + top) / side) for name, (x, y) in points.items()}
    return PointedCutOut(Photograph(np.asarray(small[0]), np.asarray(small[1])), moved, faces)


def pair_of(target: PointedCutOut, reference: PointedCutOut) -> PhotographPair:
    """The pair with the points that both have."""
    common = [name for name in target.points if name in reference.points]
    points = tuple(Landmark(target=target.points[name], reference=reference.points[name]) for name in common)
    return PhotographPair("points", target.photograph, reference.photograph, points=points)


def score_sets(
    models: Models, sets: Mapping[str, list[PointedCutOut]], params: TransferParams, pairs: int, seed: int
) -> Iterator[tuple[str, str, Figures]]:
    """Set, whether both face the same way (`same`, `other`) and PCK of up to `pairs` pairs of each set."""
    for name, cutouts in sets.items():
        ordered = [(one, other) for one, other in permutations(cutouts, 2) if pair_of(one, other).points]
        for number in np.random.default_rng(seed).permutation(len(ordered))[:pairs]:
            target, reference = ordered[number]
            pair = pair_of(target, reference)
            case = Case(models, pair, params, seed=0)
            found = score_points(case, case.own_correspondence, pair)
            facing = "same" if target.faces == reference.faces else "other"
            yield name, facing, {f"pck_{alpha}": found[alpha] for alpha in ALPHAS}


def summarise(scored: list[tuple[str, str, Figures]]) -> dict[str, Figures]:
    """Means within every set, within the pairs of it that face the same and another way, and, as `mean`, over sets."""
    rows: dict[str, list[Figures]] = {}
    for name, facing, figures in scored:
        rows.setdefault(name, []).append(figures)
        rows.setdefault(f"{name}, {facing} way", []).append(figures)
    means = {name: {key: float(np.mean([row[key] for row in some])) for key in some[0]} for name, some in rows.items()}
    whole = [means[name] for name in {name for name, _, _ in scored}]
    return {"mean": {key: float(np.mean([row[key] for row in whole])) for key in whole[0]}, **means}


def main() -> None:
    """Measures and writes the table."""
    parser = argparse.ArgumentParser(prog="python -m lab.photographs.keypoints")
    parser.add_argument("--points", type=Path, required=True)
    parser.add_argument("--cutouts", type=Path, required=True, help="folder that the files in --points are relative to")
    parser.add_argument("--pairs", type=int, default=12, help="of every set, at most")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--source", default="auto", help="matching.source")
    parser.add_argument("--json", type=Path, required=True)
    options = parser.parse_args()
    torch.set_num_threads(1)
    listed = json.loads(options.points.read_text())
    sets = {
        name: [read_pointed(options.cutouts / file, one["points"], one["faces"]) for file, one in files.items()]
        for name, files in listed.items()
    }
    params = TransferParams.model_validate({"matching": {"source": options.source}})
    models = load(ModelSettings()).models
    result = summarise(list(score_sets(models, sets, params, options.pairs, options.seed)))
    options.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
