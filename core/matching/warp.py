"""Warping: from one matched place per token to a place for every position between them, and the reference moved there.

Refined matches (`core.matching.local_affine`) have an affine map around every token. A plain correspondence is
quantised to token centres and has no rotation, scale or mirroring: around every token an affine map is fitted to the
matches of its coherent neighbours (weighted least squares, drawn towards the plain copy where few neighbours agree).
Places inside a token are read off its map.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from core.images.geometry import extent, token_mask
from core.matching.correspondence import Correspondence
from core.matching.local_affine import around, steps_around, token_colours
from core.types import Mask, Picture

COHERENT_WITHIN = 3.0
"""Tokens. Neighbours whose matches lie farther apart than this belong to different surfaces."""
PLAIN_COPY_WEIGHT = 0.1
"""Weight of the prior, in neighbours, with which the fit is drawn towards an undistorted copy."""
REACH = 1.0
"""Tokens. How far a token's map is continued beyond its own area before a nearer one is preferred."""
SAME_COLOR = 0.07
"""Colours (RGB, 0 to 1) farther apart than this belong to another surface."""
NINE = tuple((dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1))
"""Row and column offsets of a token's neighbourhood, itself included."""


class DenseFlow:
    """A correspondence at every position between tokens, at any size of the target's canvas, rectangle by rectangle.

    `inside` marks the tokens whose matches count; others have no weight, and positions in them continue the map of
    their neighbours. Every position follows one of the 3 x 3 tokens around it: a near one, whose own neighbours
    agree with it, and, where the target's picture is given, one of the position's colour, so that borders between parts
    run along the target's edges (joint bilateral upsampling, Kopf et al. 2007).
    """

    def __init__(self, found: Correspondence, inside: Bool[Tensor, " tokens"], picture: Picture | None = None) -> None:
        """`picture` is the target's canvas, at any size."""
        self._grid = found.grid
        self._places, self._slope, support = _affine_fits(found, inside)
        self._support = support.log()
        self._colours = None if picture is None else token_colours(picture, found.grid)

    def at(
        self,
        y: Float[Tensor, " height"],
        x: Float[Tensor, " width"],
        guide: Float[Tensor, "3 height width"] | None = None,
    ) -> Float[Tensor, "height width 2"]:
        """Places (x, y) in the reference, each -1 to 1 as `grid_sample` wants, of the positions in rows `y` and columns
        `x`, fractions of the target's canvas; `guide` is the target's picture there."""
        rows, columns = self._grid
        places, slope = self._places, self._slope
        y, x = y.to(places) * rows, x.to(places) * columns
        row, column = y.long().clamp(0, rows - 1), x.long().clamp(0, columns - 1)
        best = torch.full((len(y), len(x)), -torch.inf, device=places.device, dtype=places.dtype)
        flow = torch.zeros(len(y), len(x), 2, device=places.device, dtype=places.dtype)
        for dy, dx in NINE:
            near_row, near_column = (row + dy).clamp(0, rows - 1), (column + dx).clamp(0, columns - 1)
            token = near_row[:, None] * columns + near_column[None, :]
            offset = torch.stack(torch.meshgrid(x - near_column - 0.5, y - near_row - 0.5, indexing="xy"), dim=-1)
            score = self._support[token] - 0.5 * offset.square().sum(-1) / REACH**2
            if guide is not None and self._colours is not None:
                difference = guide.permute(1, 2, 0) - self._colours[token]
                score = score - 0.5 * difference.square().sum(-1) / SAME_COLOR**2
            better = score > best
            place = places[token] + torch.einsum("hwij,hwj->hwi", slope[token], offset)
            flow = torch.where(better[..., None], place, flow)
            best = torch.where(better, score, best)
        return flow / extent(self._grid, flow) * 2.0 - 1.0


def dense_flow(
    found: Correspondence, inside: Bool[Tensor, " tokens"], size: tuple[int, int], guide: Picture | None = None
) -> Float[Tensor, "rows columns 2"]:
    """`DenseFlow` over the whole canvas at `size` (height, width); `guide` is the target's picture at that size."""
    y, x = ((torch.arange(side, device=found.index.device) + 0.5) / side for side in size)
    return DenseFlow(found, inside, guide).at(y, x, guide)


def _affine_fits(
    found: Correspondence, inside: Bool[Tensor, " tokens"]
) -> tuple[Float[Tensor, "tokens 2"], Float[Tensor, "tokens 2 2"], Float[Tensor, " tokens"]]:
    """Every token's place in the reference, in tokens, how it changes around it, and the share of its neighbourhood
    that agrees; next to nothing for tokens that do not count."""
    local = found.local_affine
    places = local.places
    offsets = steps_around(1, places)
    known = around(inside[:, None].to(places), found.grid, 1)[..., 0] > 0.0
    moved = around(places, found.grid, 1) - places
    weight = (known & (moved.norm(dim=-1) <= COHERENT_WITHIN)).to(places.dtype)
    weight[offsets.abs().sum(-1) == 0] = 1.0
    support = torch.where(inside, weight.mean(0), 1e-6)
    if found.refined is not None:
        return places, local.slopes, support
    centre, slope = _fit(moved, offsets, weight)
    return places + centre, slope, support


def _fit(
    moved: Float[Tensor, "nine tokens 2"], offsets: Float[Tensor, "nine 2"], weight: Float[Tensor, "nine tokens"]
) -> tuple[Float[Tensor, "tokens 2"], Float[Tensor, "tokens 2 2"]]:
    """Weighted least squares `moved = centre + slope offset`, with `slope` drawn towards the identity."""
    ones = torch.ones_like(offsets[:, :1])
    design = torch.cat([ones, offsets], dim=1)
    prior = torch.diag(torch.tensor([1e-6, 2.0, 2.0], device=moved.device, dtype=moved.dtype)) * PLAIN_COPY_WEIGHT
    plain = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]], device=moved.device, dtype=moved.dtype)
    normal = torch.einsum("nt,ni,nj->tij", weight, design, design) + prior
    right = torch.einsum("nt,ni,ntk->tik", weight, design, moved) + prior @ plain
    solution = torch.linalg.solve(normal, right)
    return solution[:, 0], solution[:, 1:].transpose(1, 2)


def rearrange_picture(
    reference: Float[Tensor, "channels height width"],
    matches: Correspondence,
    target_mask: Mask,
    *,
    guide: Picture | None = None,
) -> Float[Tensor, "channels height width"]:
    """The reference's picture, or latent, with every position moved to where it was matched, `x_ref[c(p)]`.

    At the size of `target_mask`. `guide` is the target's picture at that size: borders then follow its edges.
    """
    inside = token_mask(target_mask, matches.grid)
    flow = dense_flow(matches, inside, (target_mask.shape[0], target_mask.shape[1]), guide)
    moved = F.grid_sample(reference[None], flow[None].to(reference.dtype), padding_mode="border", align_corners=False)
    return moved[0]
