"""A correspondence: for every token of the target one of the reference, and, where it is known finer, a place."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from core.errors import NonFiniteError
from core.images.canvas import Canvas
from core.images.geometry import extent, token_at, token_mask, token_places, token_weights
from core.masks.regions import Canvases
from core.matching.landmarks import CanvasPins


@dataclass(frozen=True)
class LocalMaps:
    """Where tokens lie in the reference, finer than to a token, and how that changes around each of them. Both pictures
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

    def where(self, here: Bool[Tensor, " tokens"], other: "LocalMaps") -> "LocalMaps":
        """This one for some tokens, another for all the rest."""
        places = torch.where(here[:, None], self.places, other.places)
        return LocalMaps(self.grid, places, torch.where(here[:, None, None], self.slopes, other.slopes))

    def resized(self, grid: tuple[int, int]) -> "LocalMaps":
        """The same on a finer or coarser grid: new tokens follow the old one that they lie in."""
        like = self.places
        new, old = extent(grid, like), extent(self.grid, like)
        place = token_places(grid, like) / new
        token = token_at(place, self.grid)
        slopes = self.slopes[token] * (new / old)[:, None] * (old / new)
        return LocalMaps(grid, self.at(token, place * old) / old * new, slopes)


@dataclass(frozen=True)
class TokenMap:
    """For every target token, in reading order, the reference token that it matched."""

    grid: tuple[int, int]
    """Rows and columns, the same for both pictures."""
    index: Int[Tensor, " tokens"]
    similarity: Float[Tensor, " tokens"]
    """Cosine of the match, -1 to 1."""
    confidence: Float[Tensor, " tokens"] | None = None
    """How far the match is to be believed, 0 to 1; None: wholly."""
    ranked: Int[Tensor, "tokens ranks"] | None = None
    """The best matches of every token where several are blended, the best first."""
    shares: Float[Tensor, "tokens ranks"] | None = None
    """Say of each of them; a token's add up to 1."""
    refined: LocalMaps | None = None
    """The same map, finer than to a token, where it is known so."""

    def positions(self) -> Float[Tensor, "tokens 2"]:
        """Matched places as (x, y), each a fraction of the reference canvas, 0 to 1."""
        places = self.local_maps.places
        return places / extent(self.grid, places)

    @property
    def local_maps(self) -> LocalMaps:
        """The refined ones; else every token is copied to the one that it matched, as it stands."""
        return self._copied(self.index) if self.refined is None else self.refined

    def _copied(self, index: Int[Tensor, " tokens"]) -> LocalMaps:
        plain = torch.eye(2, device=index.device, dtype=self.similarity.dtype)
        places = token_places(self.grid, self.similarity)[index]
        return LocalMaps(self.grid, places, plain.expand(len(index), 2, 2))

    def pick(
        self, source: Float[Tensor, "halves tokens channels"], own: Float[Tensor, "halves tokens channels"]
    ) -> Float[Tensor, "halves tokens channels"]:
        """What every token takes from `source`; as far as its match is doubted it keeps its `own`."""
        if self.ranked is None or self.shares is None:
            taken = source[:, self.index]
        else:
            taken = (source[:, self.ranked] * self.shares[..., None].to(source.dtype)).sum(2)
        return taken if self.confidence is None else torch.lerp(own, taken, self.confidence[:, None].to(own.dtype))

    def resized(self, grid: tuple[int, int]) -> "TokenMap":
        """The same correspondence on a finer or coarser token grid.

        On a finer grid the tokens inside one old token keep their places relative to each other.
        """
        if grid == self.grid:
            return self
        like = self.similarity
        parent = token_at(token_places(grid, like) / extent(grid, like), self.grid)

        def tokens(local: LocalMaps) -> Int[Tensor, " tokens"]:
            places = local.resized(grid).places
            return token_at(places / extent(grid, places), grid)

        ranked = self.ranked
        if ranked is not None:
            ranked = torch.stack([tokens(self._copied(rank)) for rank in ranked.unbind(1)], dim=1)
        return TokenMap(
            grid,
            tokens(self.local_maps),
            self.similarity[parent],
            None if self.confidence is None else self.confidence[parent],
            ranked,
            None if self.shares is None else self.shares[parent],
            None if self.refined is None else self.refined.resized(grid),
        )


def hold_pins(found: TokenMap, pins: CanvasPins) -> TokenMap:
    """The same map with every pinned token at its counterpart."""
    pinned, counterparts = pins.tokens(found.grid)
    index, refined = found.index.clone(), found.refined
    index[pinned] = counterparts
    if refined is not None:
        places = refined.places.clone()
        places[pinned] = token_places(found.grid, places)[counterparts]
        refined = replace(refined, places=places)
    return replace(found, index=index, refined=refined)


def place_tokens(
    places: Float[Tensor, "tokens 2"], grid: tuple[int, int], mask: Bool[Tensor, " tokens"]
) -> tuple[Int[Tensor, " tokens"], Float[Tensor, "tokens 2"]]:
    """The tokens under places (x, y), in tokens, and the places: what lies beyond the mask goes to the nearest token in
    it. No device sync."""
    index = token_at(places / extent(grid, places), grid)
    centres = token_places(grid, places)
    nearest = torch.cdist(places, centres).masked_fill(~mask, torch.inf).argmin(dim=-1)
    within = mask[index]
    return torch.where(within, index, nearest), torch.where(within[:, None], places, centres[nearest])


@dataclass(frozen=True)
class Matches:
    """The correspondence map of a transfer: for every token of the target, where it matched."""

    positions: Float[Tensor, "rows columns 2"]
    """Matched place in the reference picture as (x, y), each a fraction of its width or height."""
    similarity: Float[Tensor, "rows columns"]
    """Cosine of the match, -1 to 1."""
    inside: Bool[Tensor, "rows columns"]
    """Whether the token lies inside the target mask."""
    confidence: Float[Tensor, "rows columns"]
    """How far the match was believed, 0 to 1."""
    region: Int[Tensor, "rows columns"]
    """Which region, from 0, the token belongs to: positions are places in that region's reference."""


def describe(token_maps: Sequence[TokenMap], canvases: Canvases) -> Matches:
    """Token maps, one per region, in the terms of the pictures, on the CPU. Raises NonFiniteError where networks broke
    down."""
    finest = max((found.grid for found in token_maps), key=lambda grid: grid[0] * grid[1])
    described = [
        _describe_one(found.resized(finest), region.reference)
        for found, region in zip(token_maps, canvases.regions, strict=True)
    ]
    within = [token_weights(region.target_mask, finest).unflatten(0, finest).cpu() for region in canvases.regions]
    owner = torch.stack(within).argmax(dim=0)
    positions, similarity, confidence = (torch.stack(planes) for planes in zip(*described, strict=True))
    rows, columns = torch.meshgrid(torch.arange(finest[0]), torch.arange(finest[1]), indexing="ij")
    whole = token_mask(canvases.target.mask, finest).unflatten(0, finest).cpu()
    picked = (owner, rows, columns)
    return Matches(positions[picked], similarity[picked], whole, confidence[picked], owner)


def _describe_one(token_map: TokenMap, reference: Canvas) -> tuple[Tensor, Tensor, Tensor]:
    """Places in the reference picture, cosines and belief, each by rows and columns."""
    left, top, width, height = reference.box
    offset = torch.tensor([left, top], device=token_map.index.device)
    size = torch.tensor([width, height], device=token_map.index.device)
    positions = ((token_map.positions().float() - offset) / size).clamp(0.0, 1.0)
    if not bool(torch.isfinite(token_map.similarity).all()):
        raise NonFiniteError("the correspondence is not finite")
    believed = token_map.confidence
    believed = torch.ones_like(token_map.similarity) if believed is None else believed
    planes = (positions, token_map.similarity.float(), believed.float())
    a, b, c = (plane.unflatten(0, token_map.grid).cpu() for plane in planes)
    return a, b, c
