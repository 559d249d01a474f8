"""How well features find the right part and the right place in it, by layer and noise level.

    python -m lab.matching --pairs 24 --json matching.json          # with the weights of PLUMAGE_MODEL

Every layer matches for itself, by the cosines of `core.models.features` alone: no neighbours, no affine map. The
figures are those of `lab.metrics.matches`.
"""

import argparse
import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from checkpoints.load import load
from checkpoints.settings import ModelSettings
from core.images.geometry import token_grid, token_mask
from core.matching.solver import combine_features, match_tokens
from core.models.features import read_layers
from core.models.models import Models
from core.models.noise import NoiseDraws
from core.models.unet import select_layers
from core.params.transfer import MatchingParams, TransferParams
from lab.baselines.case import Case
from lab.metrics.matches import MatchScore, nearest_position, score_matches
from lab.pairs import Pair, PairSet, sample_pair
from lab.scenes import Domain

BLOCKS = ("mid_block", "up_blocks.0", "up_blocks.1")
LAST_BLOCK = "up_blocks.1"
NEAREST = "nearest position"
WHOLE_PICTURES = TransferParams(matching=MatchingParams(crop=False))
"""Tokens lie over the pictures as the truth does."""


def score_pair(models: Models, pair: Pair, noise_level: float, draws: int) -> dict[str, MatchScore]:
    """Scores of every layer in `BLOCKS`, of the last block's layers together, and of the nearest position.

    `noise_level`: t / 1000 at which features are extracted; `draws`: noise draws that they are averaged over.
    """
    scene = Case(models, pair, WHOLE_PICTURES, seed=0).figures[0].scene
    (region,) = scene.regions
    clean = torch.cat([scene.target_latent, region.reference_latent])
    layers, noise = select_layers(models.unet, BLOCKS), NoiseDraws(0, row=2)
    read = read_layers(models, scene.predict, clean, layers, noise_level=noise_level, draws=draws, noise=noise)
    together = [name for name in layers if name.startswith(LAST_BLOCK)]
    scores = {}
    for label, names in {**{name: [name] for name in layers}, f"{LAST_BLOCK} together": together}.items():
        grids = [token_grid(scene.latent_size, read[name].shape[1]) for name in names]
        masks = (region.target_latent_mask, region.reference_latent_mask)
        (target, grid), (reference, _) = (
            combine_features([read[name][row] for name in names], grids, mask) for row, mask in enumerate(masks)
        )
        matched, _ = match_tokens(target, reference, token_mask(region.reference_latent_mask, grid))
        scores[label] = score_matches(pair, matched.cpu().numpy(), grid)
    scores[NEAREST] = score_matches(pair, nearest_position(pair, grid), grid)
    return scores


def measure(
    models: Models, pairs: Sequence[Pair], noise_levels: Sequence[float], draws: int
) -> dict[str, dict[str, dict[str, float]]]:
    """Means over pairs: noise level, then layer, then figure; beside every level, one entry per category at it."""
    gathered: dict[tuple[str, str], list[MatchScore]] = defaultdict(list)
    for pair in pairs:
        for level in noise_levels:
            for layer, score in score_pair(models, pair, level, draws).items():
                gathered[str(level), layer].append(score)
                gathered[f"{level} {pair.target_scene.category}", layer].append(score)
    result: dict[str, dict[str, dict[str, float]]] = defaultdict(dict)
    for (when, layer), scores in gathered.items():
        columns = np.array([(score.right_part, score.pck_10, score.pck_05) for score in scores])
        means = np.nanmean(columns, axis=0)
        result[when][layer] = dict(zip(("right_part", "pck_0.1", "pck_0.05"), map(float, means), strict=True))
    return result


def main() -> None:
    """Measures the weights of PLUMAGE_MODEL and writes the table."""
    parser = argparse.ArgumentParser(prog="python -m lab.matching")
    parser.add_argument("--pairs", type=int, default=24)
    parser.add_argument("--set", dest="kind", type=PairSet, default=PairSet.SAME)
    parser.add_argument("--domain", type=Domain, default=Domain.TUNING)
    parser.add_argument("--noise-levels", type=float, nargs="+", default=[0.05, 0.15, 0.25, 0.4, 0.55])
    parser.add_argument("--draws", type=int, default=2)
    parser.add_argument("--json", type=Path, required=True)
    options = parser.parse_args()
    torch.set_num_threads(1)
    models = load(ModelSettings()).models
    size = models.native_resolution
    pairs = [sample_pair(options.domain, seed, size, options.kind) for seed in range(options.pairs)]
    result = measure(models, pairs, options.noise_levels, options.draws)
    options.json.write_text(json.dumps({"options": {k: str(v) for k, v in vars(options).items()}, **result}, indent=1))


if __name__ == "__main__":
    main()
