"""One affine map that carries the whole figure: the coarse shape of a correspondence.

A token alone often resembles several places: both sides of a car, any leg. The figure as a whole seldom does. From
many starts (rotations, mirrored and not, laid over each other by the masks' centres and areas) an affine map is fitted
to the cosines by expectation maximisation, as point sets are registered (Coherent Point Drift, Myronenko and Song
2010, arXiv 0905.2635), every pair of tokens weighted by the similarity of its features. The start whose map has
the highest cosines along it, there and back, wins. Affine models of semantic correspondence: Rocco et al. 2017
(arXiv 1703.05593); here nothing is trained.
"""

import math

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from core.images.geometry import AffineMap, extent, token_places

ROTATIONS = 16
"""Starts over the full turn, each mirrored as well."""
ITERATIONS = 12
TEMPERATURE = 0.08
"""Difference in cosine that makes a pair of tokens e times as likely."""
WIDE, NARROW = 0.3, 0.06
"""How far from the map a pair may lie (standard deviation) at first and at last, as a share of the figure's side."""
OUTLIER = 1e-3
"""Likelihood at which a token counts as following no affine map."""
RIDGE = 0.025
"""Weight, for every token, of the map of the iteration before."""
TOKENS, CELLS = 160, 200
"""At most so many of the target's tokens are fitted, to about so many cells of the reference."""
TOLERANCE = 0.1
"""How far from the map matches usually lie (standard deviation), as a share of the figure's side."""
PENALTY, FARTHEST = 0.1, 3.0
"""Cosine that a match has to offer for a distance, in squared deviations by two, and where that stops to grow."""


def distance_from_affine(
    cosine: Float[Tensor, "target_tokens reference_tokens"],
    grid: tuple[int, int],
    target_mask: Bool[Tensor, " target_tokens"],
    reference_mask: Bool[Tensor, " reference_tokens"],
) -> Float[Tensor, "target_tokens reference_tokens"]:
    """How much cosine every pair of tokens should lose for lying off the figure's affine map, 0 to 0.3."""
    places = token_places(grid, cosine)
    mapped = fit_affine(cosine, grid, target_mask, reference_mask)(places)
    deviation = TOLERANCE * reference_mask.sum().sqrt()
    return PENALTY * (torch.cdist(mapped, places).square() / (2.0 * deviation**2)).clamp(max=FARTHEST)


def fit_affine(
    cosine: Float[Tensor, "target_tokens reference_tokens"],
    grid: tuple[int, int],
    target_mask: Bool[Tensor, " target_tokens"],
    reference_mask: Bool[Tensor, " reference_tokens"],
) -> AffineMap:
    """The affine map, in tokens, from the target to the reference between their masked parts, both on `grid`.

    Both masks must have a token. Deterministic; takes a fraction of a second of a CPU whatever the grid.
    """
    places = token_places(grid, cosine)
    rows, columns = _some(target_mask), torch.nonzero(reference_mask)[:, 0]
    evidence = torch.softmax(cosine[rows][:, columns] / TEMPERATURE, dim=-1)
    centres, evidence = _pooled(places[columns], evidence)
    side = len(columns) ** 0.5
    ratio = (len(columns) / int(target_mask.sum())) ** 0.5
    linear = _starts(cosine) * ratio
    offset = centres.mean(0) - linear @ places[target_mask].mean(0)
    for step in range(ITERATIONS):
        width = side * WIDE * (NARROW / WIDE) ** (step / (ITERATIONS - 1))
        linear, offset = _improved(linear, offset, places[rows], centres, evidence, width)
    back = torch.linalg.inv_ex(linear).inverse
    there = _along(linear, offset, cosine, grid, rows, reference_mask)
    again = _along(back, -(back @ offset[..., None])[..., 0], cosine.T, grid, _some(reference_mask), target_mask)
    best = (there + again).argmax()
    return AffineMap(linear[best], offset[best])


def _some(mask: Bool[Tensor, " tokens"]) -> Int[Tensor, " some"]:
    """At most TOKENS of the masked tokens, evenly."""
    inside = torch.nonzero(mask)[:, 0]
    count = min(TOKENS, len(inside))
    return inside[torch.linspace(0, len(inside) - 1, count, device=mask.device).round().long()]


def _pooled(
    places: Float[Tensor, "tokens 2"], evidence: Float[Tensor, "some tokens"]
) -> tuple[Float[Tensor, "cells 2"], Float[Tensor, "some cells"]]:
    """Square cells of reference tokens: their middles, and the evidence in each."""
    pitch = max(1.0, (len(places) / CELLS) ** 0.5)
    cell = (places / pitch).long()
    _, member = torch.unique(cell[:, 1] * (int(cell[:, 0].max()) + 1) + cell[:, 0], return_inverse=True)
    cells = int(member.max()) + 1
    count = torch.zeros(cells, device=places.device, dtype=places.dtype).index_add_(
        0, member, torch.ones_like(places[:, 0])
    )
    centres = torch.zeros(cells, 2, device=places.device, dtype=places.dtype).index_add_(0, member, places)
    pooled = torch.zeros(len(evidence), cells, device=places.device, dtype=places.dtype)
    return centres / count[:, None], pooled.index_add_(1, member, evidence)


def _starts(like: Tensor) -> Float[Tensor, "starts 2 2"]:
    """Rotations, and the same of the mirror image."""
    angle = torch.arange(ROTATIONS, device=like.device, dtype=like.dtype) * (2.0 * math.pi / ROTATIONS)
    turned = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()], dim=-1).unflatten(-1, (2, 2))
    return torch.cat([turned, turned * torch.tensor([-1.0, 1.0], device=like.device, dtype=like.dtype)])


def _improved(
    linear: Float[Tensor, "starts 2 2"],
    offset: Float[Tensor, "starts 2"],
    places: Float[Tensor, "tokens 2"],
    centres: Float[Tensor, "cells 2"],
    evidence: Float[Tensor, "tokens cells"],
    width: float,
) -> tuple[Float[Tensor, "starts 2 2"], Float[Tensor, "starts 2"]]:
    """One round: where every token would be by features and map together, and the map that fits that best."""
    mapped = places @ linear.transpose(1, 2) + offset[:, None]
    near = torch.exp(-torch.cdist(mapped, centres.expand(len(linear), -1, -1)).square() / (2.0 * width**2))
    likely = evidence * near
    total = likely.sum(-1, keepdim=True)
    share = likely / (total + OUTLIER)
    weight = share.sum(-1)
    design = torch.cat([places, torch.ones_like(places[:, :1])], dim=1)
    ridge = RIDGE * len(places) * places.var(0, correction=0).mean().clamp(min=1.0)
    prior = torch.diag(torch.stack([ridge, ridge, torch.full_like(ridge, 5e-4)]))
    before = torch.cat([linear, offset[..., None]], dim=-1).transpose(1, 2)
    normal = design.T @ (weight[..., None] * design) + prior
    solution = torch.linalg.solve(normal, design.T @ (share @ centres) + prior @ before)
    return solution[:, :2].transpose(1, 2), solution[:, 2]


def _along(
    linear: Float[Tensor, "starts 2 2"],
    offset: Float[Tensor, "starts 2"],
    cosine: Float[Tensor, "from_tokens to_tokens"],
    grid: tuple[int, int],
    rows: Int[Tensor, " some"],
    mask: Bool[Tensor, " to_tokens"],
) -> Float[Tensor, " starts"]:
    """Mean cosine of the tokens in `rows` with the tokens where the map sets them; 0 for what leaves the mask."""
    mapped = token_places(grid, cosine)[rows] @ linear.transpose(1, 2) + offset[:, None]
    mapped = mapped.nan_to_num(-1.0, -1.0, -1.0).floor().long()
    limits = extent(grid, cosine).long()
    within = ((mapped >= 0) & (mapped < limits)).all(-1)
    mapped = mapped.clamp(min=0).minimum(limits - 1)
    found = mapped[..., 1] * grid[1] + mapped[..., 0]
    return (cosine[rows[None], found] * (mask[found] & within)).mean(-1)
