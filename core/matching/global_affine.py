"""One affine map that carries the whole figure: the coarse shape of a correspondence.

A token alone often resembles several places: both sides of a car, any leg. The figure as a whole seldom does, and where
both masks have an outline, the outlines have a shape. From many starts (the masks laid over each other by their
moments, turned and mirrored) an affine map is fitted to the cosines by expectation maximisation, as point sets are
registered (Coherent Point Drift, Myronenko and Song 2010, arXiv 0905.2635), every pair of tokens weighted by the
similarity of its features. The start that has the highest cosines along it, there and back, and under which the masks
overlap most, wins; by the masks it is then settled to a fraction of a token. Affine models of semantic correspondence:
Rocco et al. 2017 (arXiv 1703.05593); moments: Hu 1962; here nothing is trained.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from core.images.geometry import AffineMap, extent, token_mask, token_places
from core.matching.confidence import mutual_confidence
from core.types import LatentMask, Outlines

ROTATIONS = 64
"""Starts over the full turn, each mirrored as well."""
TRIED = 16
"""So many of the starts, the best, are fitted to the cosines."""
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
SAME_SHAPE, SURELY_SAME = 0.8, 0.9
"""Overlap from which two outlines may be of one shape, and from which they are: chance and different animals of one
pose reach 0.75."""
OVERLAP_WEIGHT = 4.0
"""What overlap beyond SAME_SHAPE counts beside the cosines there and back."""
ASTRAY, AGREED = 0.72, 0.82
"""Mean mutual confidence of the features' own matches up to which, of outlines of one shape, the outlines decide, and
from which the features do. Shipped features: on drawn scenes .82 to .96, on photographs of a figure and itself .40 to
.81."""
OUTLINE_SIDE = 64
"""Places along a side at which the masks are compared."""
SOFT_PLACES = (3.0, 1.5, 0.75)
"""How far outlines are blurred (standard deviation, in places) while the map is settled, four rounds each."""
DAMPING = 1e-2
"""Levenberg's, as a share of the diagonal."""
TOLERANCE = 0.1
"""How far from the map matches usually lie (standard deviation), as a share of the figure's side."""
PENALTY, FARTHEST = 0.1, 3.0
"""Cosine that a match has to offer for a distance, in squared deviations by two, and where that stops to grow."""
TOLERANCE_SAME, PENALTY_SAME = 0.04, 2.0
"""The same two where the outlines are surely of one shape."""


@dataclass(frozen=True)
class FigureMap:
    """The affine map, in tokens, from the target's figure to the reference's."""

    affine: AffineMap
    overlap: float
    """Intersection over union of the masks under it, 0 to 1; 0 where they are not compared."""

    @property
    def trust(self) -> float:
        """How sure it is, 0 to 1, that the outlines are of one shape, which this map moves."""
        return min(1.0, max(0.0, (self.overlap - SAME_SHAPE) / (SURELY_SAME - SAME_SHAPE)))


def distance_from_affine(
    cosine: Float[Tensor, "target_tokens reference_tokens"], grid: tuple[int, int], outlines: Outlines
) -> Float[Tensor, "target_tokens reference_tokens"]:
    """How much cosine every pair of tokens should lose for lying off the figure's affine map: 0 to 0.3; more, and
    nearer to the map, where the outlines are of one shape and the features cannot tell places apart."""
    places = token_places(grid, cosine)
    found = fit_affine(cosine, grid, outlines)
    share = found.trust * (1.0 - agreement(cosine, grid, outlines)) if found.trust else 0.0
    tolerance, penalty = (
        low + share * (high - low) for low, high in ((TOLERANCE, TOLERANCE_SAME), (PENALTY, PENALTY_SAME))
    )
    deviation = tolerance * token_mask(outlines.reference, grid).sum().sqrt()
    return penalty * (torch.cdist(found.affine(places), places).square() / (2.0 * deviation**2)).clamp(max=FARTHEST)


def agreement(
    cosine: Float[Tensor, "target_tokens reference_tokens"], grid: tuple[int, int], outlines: Outlines
) -> float:
    """How far features tell places apart, 0 to 1: whether a match leads back to where it came from. It does for
    networks that know such pictures, and hardly for those that do not."""
    here, there = (token_mask(mask, grid) for mask in (outlines.target, outlines.reference))
    forward = cosine.masked_fill(~there, -torch.inf).argmax(dim=1)
    backward = cosine.masked_fill(~here[:, None], -torch.inf).argmax(dim=0)
    mutual = float(mutual_confidence(forward, backward, grid)[here].mean())
    return min(1.0, max(0.0, (mutual - ASTRAY) / (AGREED - ASTRAY)))


def fit_affine(
    cosine: Float[Tensor, "target_tokens reference_tokens"], grid: tuple[int, int], outlines: Outlines
) -> FigureMap:
    """The affine map, in tokens, from the target to the reference between their masked parts, both on `grid`.

    Both masks must have a token. Deterministic; takes a fraction of a second of a CPU whatever the grid.
    """
    target_mask, reference_mask = (token_mask(mask, grid) for mask in (outlines.target, outlines.reference))
    places = token_places(grid, cosine)
    rows, columns = _some(target_mask), torch.nonzero(reference_mask)[:, 0]

    def score(linear: Tensor, offset: Tensor) -> tuple[Tensor, Tensor]:
        back = torch.linalg.inv_ex(linear).inverse
        there = _along(linear, offset, cosine, grid, rows, reference_mask)
        behind = -(back @ offset[..., None])[..., 0]
        again = _along(back, behind, cosine.T, grid, _some(reference_mask), target_mask)
        shared = overlap(linear, offset, grid, outlines) if outlines.alike else torch.zeros_like(there)
        return there + again + OVERLAP_WEIGHT * (shared - SAME_SHAPE).clamp(min=0.0), shared

    linear, offset = _starts(cosine, grid, outlines)
    best = score(linear, offset)[0].topk(min(TRIED, len(linear))).indices
    linear, offset = linear[best], offset[best]
    evidence = torch.softmax(cosine[rows][:, columns] / TEMPERATURE, dim=-1)
    centres, evidence = _pooled(places[columns], evidence)
    started = linear, offset
    for step in range(ITERATIONS):
        width = len(columns) ** 0.5 * WIDE * (NARROW / WIDE) ** (step / (ITERATIONS - 1))
        linear, offset = _improved(linear, offset, places[rows], centres, evidence, width)
    if outlines.alike:
        linear, offset = torch.cat([linear, started[0]]), torch.cat([offset, started[1]])
        linear, offset = settled(linear, offset, grid, outlines)
    scores, shared = score(linear, offset)
    chosen = scores.argmax()
    return FigureMap(AffineMap(linear[chosen], offset[chosen]), float(shared[chosen]))


def overlap(
    linear: Float[Tensor, "starts 2 2"],
    offset: Float[Tensor, "starts 2"],
    grid: tuple[int, int],
    outlines: Outlines,
) -> Float[Tensor, " starts"]:
    """Intersection over union, 0 to 1, of the target's mask and the reference's under maps in tokens of `grid`."""
    size = (OUTLINE_SIDE, OUTLINE_SIDE)
    target, reference = (_sized(mask, size) for mask in (outlines.target, outlines.reference))
    shown = _under(reference.expand(len(linear), -1, -1, -1), linear, offset, grid, size)[:, 0]
    common = torch.minimum(shown, target.flatten()).sum(-1)
    area = reference.sum() / torch.linalg.det(linear).abs().clamp(min=1e-3)
    shared: Tensor = common / (target.sum() + area - common)
    return shared


def _sized(mask: LatentMask, size: tuple[int, int]) -> Float[Tensor, "1 1 outline_rows outline_columns"]:
    return F.interpolate(mask.float()[None, None], size=size, mode="area")


def _under(
    planes: Float[Tensor, "starts planes outline_rows outline_columns"],
    linear: Float[Tensor, "starts 2 2"],
    offset: Float[Tensor, "starts 2"],
    grid: tuple[int, int],
    size: tuple[int, int],
) -> Float[Tensor, "starts planes places"]:
    """Planes over the reference at the places of `size` over the target, under maps in tokens of `grid`; 0 beyond
    them."""
    tokens = extent(grid, linear)
    places = token_places(size, linear) / extent(size, linear) * tokens
    mapped = (places @ linear.transpose(1, 2) + offset[:, None]) / tokens * 2.0 - 1.0
    return F.grid_sample(planes.to(mapped), mapped[:, None], align_corners=False)[:, :, 0]


def settled(
    linear: Float[Tensor, "starts 2 2"],
    offset: Float[Tensor, "starts 2"],
    grid: tuple[int, int],
    outlines: Outlines,
) -> tuple[Float[Tensor, "starts 2 2"], Float[Tensor, "starts 2"]]:
    """Maps under which the outlines fit best, by Gauss and Newton's method on the difference of the blurred masks
    (Lucas and Kanade 1981, with an affine motion). Where that does not lead to outlines of one shape, or fits them
    worse, the map that was given. What an outline leaves open, as an oval how it is turned, stays as it was."""
    given, before = (linear, offset), overlap(linear, offset, grid, outlines)
    size, starts = (OUTLINE_SIDE, OUTLINE_SIDE), len(linear)
    places = token_places(size, linear) / extent(size, linear) * extent(grid, linear)
    design = torch.cat([places, torch.ones_like(places[:, :1])], dim=1)
    steps = extent(size, linear) / extent(grid, linear)
    for sigma in SOFT_PLACES:
        target, reference = (_blurred(_sized(mask, size), sigma) for mask in (outlines.target, outlines.reference))
        slopes = torch.gradient(reference[0, 0], dim=(1, 0))
        planes = torch.stack([reference[0, 0], *slopes])[None].expand(starts, -1, -1, -1)
        for _ in range(4):
            shown, across, down = _under(planes, linear, offset, grid, size).unbind(1)
            ways = (across[..., None] * steps[0] * design, down[..., None] * steps[1] * design)
            jacobian = torch.cat(ways, dim=-1)
            normal = jacobian.mT @ jacobian
            damping = DAMPING * torch.diag_embed(normal.diagonal(dim1=-2, dim2=-1)) + 1e-9 * torch.eye(6).to(normal)
            right = (jacobian * (target.flatten() - shown)[..., None]).sum(1)
            change = torch.linalg.solve(normal + damping, right).unflatten(-1, (2, 3))
            linear, offset = linear + change[..., :2], offset + change[..., 2]
    after = overlap(linear, offset, grid, outlines)
    better = (after >= SAME_SHAPE) & (after > before)
    return torch.where(better[:, None, None], linear, given[0]), torch.where(better[:, None], offset, given[1])


def _blurred(
    mask: Float[Tensor, "1 1 outline_rows outline_columns"], sigma: float
) -> Float[Tensor, "1 1 outline_rows outline_columns"]:
    radius = int(3.0 * sigma + 0.5)
    kernel = torch.exp(-0.5 * (torch.arange(-radius, radius + 1, device=mask.device, dtype=mask.dtype) / sigma) ** 2)
    kernel = kernel / kernel.sum()
    padded = F.pad(mask, (radius,) * 4)
    return F.conv2d(F.conv2d(padded, kernel[None, None, None]), kernel[None, None, :, None])


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


def _starts(
    like: Tensor, grid: tuple[int, int], outlines: Outlines
) -> tuple[Float[Tensor, "starts 2 2"], Float[Tensor, "starts 2"]]:
    """Maps that lay the target's mask over the reference's: rotations, and the same of the mirror image, between their
    centres and, where both are outlines of things, their second moments; else their areas."""
    angle = torch.arange(ROTATIONS, device=like.device, dtype=like.dtype) * (2.0 * math.pi / ROTATIONS)
    turned = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()], dim=-1).unflatten(-1, (2, 2))
    turned = torch.cat([turned, turned * torch.tensor([-1.0, 1.0], device=like.device, dtype=like.dtype)])
    (here, wide), (there, broad) = (_moments(mask, grid, like) for mask in (outlines.target, outlines.reference))
    if outlines.alike:
        linear = _power(broad, 0.5) @ turned @ _power(wide, -0.5)
    else:
        areas = [float(mask.mean()) for mask in (outlines.target, outlines.reference)]
        linear = turned * (areas[1] / areas[0]) ** 0.5
    return linear, there - linear @ here


def _moments(mask: LatentMask, grid: tuple[int, int], like: Tensor) -> tuple[Float[Tensor, "2"], Float[Tensor, "2 2"]]:
    """Centre and covariance of a mask, in tokens of `grid`."""
    size = (mask.shape[0], mask.shape[1])
    places = token_places(size, like) / extent(size, like) * extent(grid, like)
    weight = (mask.flatten() / mask.sum()).to(like)[:, None]
    centre = (weight * places).sum(0)
    away = places - centre
    return centre, (weight * away).T @ away


def _power(covariance: Float[Tensor, "2 2"], exponent: float) -> Float[Tensor, "2 2"]:
    values, vectors = torch.linalg.eigh(covariance)
    power: Tensor = vectors @ torch.diag(values.clamp(min=1e-2) ** exponent) @ vectors.T
    return power


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
