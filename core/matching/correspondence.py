"""A correspondence: for every token of the target one of the reference, and, where it is known finer, a place.

Two forms: `Correspondence` between the tokens of two canvases, on which the stages work, and `Matches`, the same in the
terms of the two pictures, which a caller gets.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from core.errors import NonFiniteError
from core.images.geometry import AffineMap, extent, token_at, token_places
from core.types import Canvas, Mask

GRID_SIDE = 64
"""Tokens along the longer side of the target in the map that a caller gets; a custom map may have as many."""


@dataclass(frozen=True)
class LocalAffine:
    """Where tokens lie in the reference, finer than to a token, and an affine map around each of them. Both pictures
    have their tokens on `grid`."""

    grid: tuple[int, int]
    places: Float[Tensor, "tokens 2"]
    """(x, y) in tokens."""
    slopes: Float[Tensor, "tokens 2 2"]
    """`slopes @ (dx, dy)` is the way in the reference for a way in the target, both in tokens."""

    def at(self, token: Int[Tensor, " places"], place: Float[Tensor, "places 2"]) -> Float[Tensor, "places 2"]:
        """Where places (x, y) of the target, in tokens, lie by the maps around given tokens."""
        away = place - token_places(self.grid, place)[token]
        return self.places[token] + torch.einsum("pij,pj->pi", self.slopes[token], away)

    def where(self, here: Bool[Tensor, " tokens"], other: "LocalAffine") -> "LocalAffine":
        """This one for some tokens, another for all the rest."""
        places = torch.where(here[:, None], self.places, other.places)
        return LocalAffine(self.grid, places, torch.where(here[:, None, None], self.slopes, other.slopes))

    def resized(self, grid: tuple[int, int]) -> "LocalAffine":
        """The same on a finer or coarser grid: new tokens follow the old one that they lie in."""
        like = self.places
        new, old = extent(grid, like), extent(self.grid, like)
        place = token_places(grid, like) / new
        token = token_at(place, self.grid)
        slopes = self.slopes[token] * (new / old)[:, None] * (old / new)
        return LocalAffine(grid, self.at(token, place * old) / old * new, slopes)


@dataclass(frozen=True)
class Correspondence:
    """For every target token, in reading order, the reference token that it matched."""

    grid: tuple[int, int]
    """Rows and columns, the same for both pictures."""
    index: Int[Tensor, " tokens"]
    similarity: Float[Tensor, " tokens"]
    """Cosine of the match, -1 to 1."""
    confidence: Float[Tensor, " tokens"] | None = None
    """How far the match is trusted, 0 to 1; None: wholly."""
    refined: LocalAffine | None = None
    """The same map, finer than to a token, where it is known so."""

    def positions(self) -> Float[Tensor, "tokens 2"]:
        """Matched places as (x, y), each a fraction of the reference canvas, 0 to 1."""
        places = self.local_affine.places
        return places / extent(self.grid, places)

    @property
    def local_affine(self) -> LocalAffine:
        """The refined maps; else every token is copied to the one that it matched, undistorted."""
        if self.refined is not None:
            return self.refined
        plain = torch.eye(2, device=self.index.device, dtype=self.similarity.dtype)
        places = token_places(self.grid, self.similarity)[self.index]
        return LocalAffine(self.grid, places, plain.expand(len(self.index), 2, 2))

    def rearrange(
        self, source: Float[Tensor, "halves tokens channels"], own: Float[Tensor, "halves tokens channels"]
    ) -> Float[Tensor, "halves tokens channels"]:
        """`source[c(p)]` for every token p; the less its match is trusted, the more of its `own`."""
        taken = source[:, self.index]
        return taken if self.confidence is None else torch.lerp(own, taken, self.confidence[:, None].to(own.dtype))

    def resized(self, grid: tuple[int, int]) -> "Correspondence":
        """The same correspondence on a finer or coarser token grid.

        On a finer grid the tokens inside one old token keep their places relative to each other.
        """
        if grid == self.grid:
            return self
        like = self.similarity
        parent = token_at(token_places(grid, like) / extent(grid, like), self.grid)
        places = self.local_affine.resized(grid).places
        return Correspondence(
            grid,
            token_at(places / extent(grid, places), grid),
            self.similarity[parent],
            None if self.confidence is None else self.confidence[parent],
            None if self.refined is None else self.refined.resized(grid),
        )


def nearest_inside(
    places: Float[Tensor, "tokens 2"], grid: tuple[int, int], mask: Bool[Tensor, " tokens"]
) -> tuple[Int[Tensor, " tokens"], Float[Tensor, "tokens 2"]]:
    """The tokens under places (x, y), in tokens, and the places: what lies beyond the mask moves to the nearest token
    inside it. No device sync."""
    index = token_at(places / extent(grid, places), grid)
    centres = token_places(grid, places)
    nearest = torch.cdist(places, centres).masked_fill(~mask, torch.inf).argmin(dim=-1)
    within = mask[index]
    return torch.where(within, index, nearest), torch.where(within[:, None], places, centres[nearest])


def uncropped(
    found: Correspondence,
    here: AffineMap,
    there: AffineMap,
    grid: tuple[int, int],
    reference_mask: Bool[Tensor, " tokens"],
) -> Correspondence:
    """A map between two crop windows, `here` onto the target and `there` onto the reference (`core.images.geometry`),
    as one between the tokens, on `grid`, of the whole canvases."""
    window, canvas = extent(found.grid, found.similarity), extent(grid, found.similarity)
    here, there = (one.to(found.similarity).rescaled(window, canvas) for one in (here, there))
    back = here.inverse()
    seen = back(token_places(grid, found.similarity))
    token = token_at(seen / window, found.grid)
    local = found.local_affine
    matched = there(local.at(token, seen))
    slopes = there.linear @ local.slopes[token] @ back.linear
    index, places = nearest_inside(matched, grid, reference_mask)
    return Correspondence(
        grid,
        index,
        found.similarity[token],
        None if found.confidence is None else found.confidence[token],
        LocalAffine(grid, places, slopes),
    )


@dataclass(frozen=True)
class Matches:
    """The correspondence of a transfer in the terms of its pictures: for every token of the target, where it
    matched."""

    positions: Float[Tensor, "rows columns 2"]
    """Matched place in the reference picture as (x, y), each a fraction of its width or height."""
    similarity: Float[Tensor, "rows columns"]
    """Cosine of the match, -1 to 1."""
    inside: Bool[Tensor, "rows columns"]
    """Whether the token lies inside the target mask."""
    confidence: Float[Tensor, "rows columns"]
    """How far the match was trusted, 0 to 1."""
    region: Int[Tensor, "rows columns"]
    """Which region, from 0, the token belongs to: positions are places in that region's reference."""


@dataclass(frozen=True)
class Described:
    """One figure's correspondence, and where its two canvases lie."""

    found: Correspondence
    target: Canvas
    reference: Canvas
    region: int


def describe(figures: Sequence[Described], aspect: float) -> Matches:
    """Correspondences of all figures in the terms of the pictures, on the CPU: one grid over the whole target, whose
    longer side has GRID_SIDE tokens; `aspect` is the target's height over its width. Later figures lie on top. Outside
    every figure positions are NaN, similarity and confidence 0. Raises NonFiniteError where a network gave NaN or
    infinity."""
    rows = max(1, round(GRID_SIDE * min(1.0, aspect)))
    columns = max(1, round(GRID_SIDE * min(1.0, 1.0 / aspect)))
    positions = torch.full((rows, columns, 2), torch.nan)
    similarity, confidence = torch.zeros(rows, columns), torch.zeros(rows, columns)
    inside, region = torch.zeros(rows, columns, dtype=torch.bool), torch.zeros(rows, columns, dtype=torch.long)
    for figure in figures:
        within, places, cosine, trusted = _describe_one(figure, (rows, columns))
        positions[within], similarity[within], confidence[within] = places[within], cosine[within], trusted[within]
        inside |= within
        region[within] = figure.region
    return Matches(positions, similarity, inside, confidence, region)


def _describe_one(figure: Described, grid: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Of the tokens of `grid` over the whole target: which lie in the figure, their places in the reference picture,
    cosines and confidence, each by rows and columns."""
    found, like = figure.found, figure.found.similarity
    if not bool(torch.isfinite(like).all()):
        raise NonFiniteError("the correspondence is not finite")
    shares = token_places(grid, like) / extent(grid, like)
    here, there = _box(figure.target, like), _box(figure.reference, like)
    seen = here[:2] + shares * here[2:]
    token = token_at(seen, found.grid)
    tokens = extent(found.grid, like)
    places = (found.local_affine.at(token, seen * tokens) / tokens - there[:2]) / there[2:]
    on_canvas = ((seen >= 0.0) & (seen < 1.0)).all(-1)
    within = on_canvas & (_covered(figure.target, grid, here) >= 0.5)
    if not bool(within.any()):  # finer than every token: the one that the figure covers most
        centre = (figure.target.mask.nonzero().to(like).mean(0) + 0.5) / extent_rows(figure.target.mask, like)
        within[token_at((centre.flip(0) - here[:2]) / here[2:], grid)] = True
    confidence = found.confidence
    trusted = torch.ones_like(like) if confidence is None else confidence
    planes = (within, places.clamp(0.0, 1.0), like[token], trusted[token])
    a, b, c, d = (plane.float().unflatten(0, grid).cpu() for plane in planes)
    return a > 0.5, b, c, d


def _box(canvas: Canvas, like: Tensor) -> Float[Tensor, "4"]:
    return torch.tensor(canvas.box, device=like.device, dtype=like.dtype)


def extent_rows(mask: Mask, like: Tensor) -> Float[Tensor, "2"]:
    """(rows, columns) of a mask."""
    return torch.tensor(mask.shape, device=like.device, dtype=like.dtype)


def _covered(canvas: Canvas, grid: tuple[int, int], box: Float[Tensor, "4"]) -> Float[Tensor, " tokens"]:
    """Share of every token of a grid over the whole picture that the canvas's mask covers, by 4 x 4 samples."""
    fine = (grid[0] * 4, grid[1] * 4)
    shares = token_places(fine, canvas.mask) / extent(fine, canvas.mask)
    places = box[:2].to(shares) + shares * box[2:].to(shares)
    sampled = F.grid_sample(
        canvas.mask[None, None], (places * 2.0 - 1.0)[None, None], padding_mode="border", align_corners=False
    )
    sampled = sampled * ((places >= 0.0) & (places < 1.0)).all(-1)
    return F.avg_pool2d(sampled[0].unflatten(2, fine), 4).flatten()
