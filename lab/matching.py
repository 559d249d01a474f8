"""How well a checkpoint's features find the right part and the right place in it, per layer and timestep.

    python -m lab.matching --model models/mini --pairs 24 --json matching.json

Two figures over target tokens inside the figure whose counterpart is visible: `right_part`, the share
matched into the same group of parts, and `pck_0.1` / `pck_0.05`, the share matched within 0.1 (0.05)
times the longer side of the reference figure's box.
"""

import argparse
import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from diffusers import StableDiffusionXLPipeline
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from core.matching.solver import match_tokens
from core.models.unet import recorded, select_layers
from lab.pairs import Pair, PairSet, sample_pair
from lab.scenes import PARTS, Domain, Rendering
from lab.train.autoencoder import to_signed

Grid = tuple[int, int]
Scalar = TypeVar("Scalar", bound=np.generic)
GROUPS = np.array([sorted({kind.group for kind in PARTS}).index(kind.group) for kind in PARTS])


@dataclass(frozen=True)
class MatchScore:
    """Shares of tokens, 0..1; NaN where a pair has no token to count."""

    right_part: float
    pck_10: float
    pck_05: float


@torch.no_grad()
def read_features(
    pipeline: StableDiffusionXLPipeline, images: NDArray[np.uint8], timestep: int, draws: int, seed: int = 0
) -> dict[str, Tensor]:
    """Inputs of all self-attention layers for pictures noised to one timestep, averaged over `draws` noises.

    `images` `[pictures, side, side, 3]`; returns `[pictures, tokens, channels]` by layer. No prompt: zero
    text embeddings.
    """
    unet = pipeline.unet
    posterior = pipeline.vae.encode(to_signed(images).to(pipeline.vae.dtype)).latent_dist
    latents = posterior.mean * pipeline.vae.config.scaling_factor
    alpha = pipeline.scheduler.alphas_cumprod[timestep]
    count, side = len(images), images.shape[1]
    text = torch.zeros(count, 77, unet.config.cross_attention_dim)
    pooled_width = unet.config.projection_class_embeddings_input_dim - 6 * unet.config.addition_time_embed_dim
    sizes = torch.tensor([[side, side, 0, 0, side, side]], dtype=torch.float32).expand(count, -1)
    added = {"text_embeds": torch.zeros(count, pooled_width), "time_ids": sizes}
    generator = torch.Generator().manual_seed(seed)
    total: dict[str, Tensor] = {}
    with recorded(unet, select_layers(unet, ["mid_block", "up_blocks.0", "up_blocks.1"])) as seen:
        for _ in range(draws):
            noise = torch.randn(latents.shape, generator=generator)
            unet(alpha.sqrt() * latents + (1 - alpha).sqrt() * noise, timestep, text, added_cond_kwargs=added)
            for name, tokens in seen.items():
                total[name] = total.get(name, torch.zeros(())) + tokens / draws
    return total


def centred(tokens: Tensor, mask: Tensor) -> Tensor:
    """Unit features `[tokens, channels]` without their mean over the masked tokens."""
    return functional.normalize(tokens - tokens[mask].mean(dim=0, keepdim=True), dim=-1)


def at_tokens(plane: NDArray[Scalar], grid: Grid) -> NDArray[Scalar]:
    """The values of a picture-sized plane at the centres of tokens, in reading order."""
    height, width = plane.shape[:2]
    rows = (np.arange(grid[0]) * height + height // 2) // grid[0]
    columns = (np.arange(grid[1]) * width + width // 2) // grid[1]
    picked: NDArray[Scalar] = plane[np.ix_(rows, columns)]
    return picked.reshape(grid[0] * grid[1], *plane.shape[2:])


def figure_tokens(rendering: Rendering, grid: Grid) -> Tensor:
    """Which tokens' centres lie in the figure."""
    return torch.from_numpy(at_tokens(rendering.part, grid) > 0)


def score_matches(pair: Pair, matched: NDArray[np.int64], grid: Grid) -> MatchScore:
    """Judges `matched`, for every target token the index of a reference token, by the truth."""
    return score_places(pair, (np.stack([matched % grid[1], matched // grid[1]], axis=-1) + 0.5) / grid[::-1], grid)


def score_places(pair: Pair, places: NDArray[np.floating[Any]], grid: Grid) -> MatchScore:
    """Judges places (x, y) `[tokens, 2]` in the reference, fractions of its sides, for every token of the target."""
    true = pair.correspondence
    counted = at_tokens(true.visible, grid).astype(bool)
    if not counted.any():
        return MatchScore(float("nan"), float("nan"), float("nan"))
    height, width = pair.reference.part.shape
    x, y = places[:, 0] * width, places[:, 1] * height
    under = (y.astype(int).clip(0, height - 1), x.astype(int).clip(0, width - 1))
    own, found = GROUPS[at_tokens(pair.target.part, grid).astype(np.int64)], GROUPS[pair.reference.part[under]]
    away = (x - (at_tokens(true.column, grid) + 0.5), y - (at_tokens(true.row, grid) + 0.5))
    distance = np.hypot(*away)[counted] / figure_side(pair.reference)
    return MatchScore(
        float((own == found)[counted].mean()), float((distance <= 0.1).mean()), float((distance <= 0.05).mean())
    )


def figure_side(rendering: Rendering) -> int:
    """The longer side, in pixels, of the figure's bounding box."""
    rows, columns = np.nonzero(rendering.part)
    return int(max(np.ptp(rows), np.ptp(columns))) + 1


def nearest_position(pair: Pair, grid: Grid) -> NDArray[np.int64]:
    """The baseline that knows no features: the same place relative to the two figures' boxes."""
    boxes = [_box(at_tokens(side.part, grid).reshape(grid)) for side in (pair.target, pair.reference)]
    rows, columns = np.indices(grid)
    places = np.stack([rows, columns], axis=-1).reshape(-1, 2)
    moved = (places - boxes[0][0]) / boxes[0][1] * boxes[1][1] + boxes[1][0]
    inside = np.flatnonzero(at_tokens(pair.reference.part, grid) > 0)
    squared = np.square(moved[:, None, :] - places[None, inside, :]).sum(axis=-1)
    nearest: NDArray[np.int64] = inside[squared.argmin(axis=1)]
    return nearest


def _box(part: NDArray[np.uint8]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """First corner and side lengths of the figure's box, in tokens."""
    where = np.argwhere(part > 0).astype(np.float64)
    return where.min(axis=0), np.maximum(np.ptp(where, axis=0), 1.0)


def score_pair(pipeline: StableDiffusionXLPipeline, pair: Pair, timestep: int, draws: int) -> dict[str, MatchScore]:
    """Scores of every layer, of the last two decoder layers together, and of the nearest position."""
    images = np.stack([pair.target.image, pair.reference.image])
    features = read_features(pipeline, images, timestep, draws)
    last = [name for name in features if name.startswith("up_blocks.1")]
    scores = {}
    for label, names in {**{name: [name] for name in features}, "up_blocks.1 together": last}.items():
        side = round(features[names[0]].shape[1] ** 0.5)
        grid = (side, side)
        masks = [figure_tokens(rendering, grid) for rendering in (pair.target, pair.reference)]
        own, other = (torch.cat([centred(features[name][row], masks[row]) for name in names], dim=-1) for row in (0, 1))
        matched, _ = match_tokens(own, other, masks[1])
        scores[label] = score_matches(pair, matched.numpy(), grid)
    scores["nearest position"] = score_matches(pair, nearest_position(pair, grid), grid)
    return scores


def measure(
    pipeline: StableDiffusionXLPipeline, pairs: Sequence[Pair], timesteps: Sequence[int], draws: int
) -> dict[str, dict[str, dict[str, float]]]:
    """Means over pairs: timestep, then layer, then figure; one more timestep entry per category at each."""
    gathered: dict[tuple[str, str], list[MatchScore]] = defaultdict(list)
    for pair in pairs:
        for timestep in timesteps:
            for layer, score in score_pair(pipeline, pair, timestep, draws).items():
                gathered[str(timestep), layer].append(score)
                gathered[f"{timestep} {pair.target_scene.category}", layer].append(score)
    result: dict[str, dict[str, dict[str, float]]] = defaultdict(dict)
    for (when, layer), scores in gathered.items():
        columns = np.array([(score.right_part, score.pck_10, score.pck_05) for score in scores])
        means = np.nanmean(columns, axis=0)
        result[when][layer] = dict(zip(("right_part", "pck_0.1", "pck_0.05"), map(float, means), strict=True))
    return result


def main() -> None:
    """Measures a checkpoint and writes or shows the table."""
    parser = argparse.ArgumentParser(prog="python -m lab.matching")
    parser.add_argument("--model", required=True)
    parser.add_argument("--pairs", type=int, default=24)
    parser.add_argument("--set", dest="kind", type=PairSet, default=PairSet.SAME)
    parser.add_argument("--domain", type=Domain, default=Domain.TUNING)
    parser.add_argument("--timesteps", type=int, nargs="+", default=[50, 150, 250, 400, 550])
    parser.add_argument("--draws", type=int, default=2)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--json", type=Path, required=True)
    options = parser.parse_args()
    torch.set_num_threads(1)
    pipeline = StableDiffusionXLPipeline.from_pretrained(options.model, dtype=torch.float32)
    pairs = [sample_pair(options.domain, seed, options.size, options.kind) for seed in range(options.pairs)]
    result = measure(pipeline, pairs, options.timesteps, options.draws)
    options.json.write_text(json.dumps({"options": {k: str(v) for k, v in vars(options).items()}, **result}, indent=1))


if __name__ == "__main__":
    main()
