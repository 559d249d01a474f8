"""Dense semantic correspondence between tokens: who in the reference looks most like me.

The paper's section 3.1 (`argmax_q cos(F_out(p), F_ref(q))`), as one masked matrix product instead of a loop over
tokens. Features of diffusion networks as descriptors: DIFT (Tang et al., arXiv 2306.03881).
"""

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from core.affine import distance_from_affine
from core.consensus import TEMPERATURE, agree_with_neighbours
from core.grid import extent, token_at, token_places
from core.pins import CanvasPins
from core.refine import fit_locally, places_between
from core.trust import PLAIN, MatchRule, borrow_nearest, far_from_mutual, rank, ratio_test

CHUNK_ELEMENTS = 64 * 1024 * 1024
"""Largest similarity matrix held at once: 256 MiB in float32, four times the one of 4096 x 4096 tokens."""


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


def match_tokens(
    target: Float[Tensor, "target_tokens channels"],
    reference: Float[Tensor, "reference_tokens channels"],
    reference_mask: Bool[Tensor, " reference_tokens"],
    *,
    chunk_elements: int = CHUNK_ELEMENTS,
) -> tuple[Int[Tensor, " target_tokens"], Float[Tensor, " target_tokens"]]:
    """Index and cosine of the best reference token for every target token. No device sync.

    Masked-out reference tokens are removed from the choice, so they cannot win, whatever the cosines are.
    Compared in float32 at least. Ties go to the first token. Raises nothing; at least one reference token must
    be inside the mask.
    """
    dtype = torch.promote_types(target.dtype, torch.float32)
    target_unit = F.normalize(target.to(dtype), dim=-1)
    reference_unit = F.normalize(reference.to(dtype), dim=-1)
    rows_at_once = max(1, chunk_elements // len(reference))
    similarities, indices = [], []
    for chunk in target_unit.split(rows_at_once):
        cosine = chunk @ reference_unit.T
        cosine = cosine.masked_fill(~reference_mask, -torch.inf)
        best = cosine.max(dim=-1)
        similarities.append(best.values)
        indices.append(best.indices)
    return torch.cat(indices), torch.cat(similarities)


def match_consistently(
    target: Float[Tensor, "tokens channels"],
    reference: Float[Tensor, "tokens channels"],
    grid: tuple[int, int],
    target_mask: Bool[Tensor, " tokens"],
    reference_mask: Bool[Tensor, " tokens"],
    *,
    smoothness: float,
    rigidity: float = 0.0,
    pins: CanvasPins | None = None,
    penalty: Float[Tensor, "tokens tokens"] | None = None,
    rule: MatchRule = PLAIN,
    refinement: float = 0.0,
    colours: Float[Tensor, "tokens 3"] | None = None,
) -> TokenMap:
    """As `match_tokens`, but every token listens to its neighbours with weight `smoothness`, to one affine map of the
    whole figure with weight `rigidity`, and near `pins` to them. `penalty` is taken from the cosines first. With
    `refinement`, matches lie between tokens and are smoothed over about so many. `colours` of the target's tokens (RGB,
    0 to 1) tell which neighbours are of one surface.

    A figure is what masks set apart: where they cover everything, no affine map is asked. Holds a few matrices of
    tokens squared; beyond CHUNK_ELEMENTS of them (8192 tokens) neither neighbours nor figure are heard.
    """
    if len(target) * len(reference) > CHUNK_ELEMENTS:
        smoothness = rigidity = refinement = 0.0
    plain = smoothness == rigidity == refinement == 0.0
    if plain and pins is None and penalty is None and rule == PLAIN:
        return TokenMap(grid, *match_tokens(target, reference, reference_mask))
    dtype = torch.promote_types(target.dtype, torch.float32)
    cosine = F.normalize(target.to(dtype), dim=-1) @ F.normalize(reference.to(dtype), dim=-1).T
    likeness = cosine if penalty is None else cosine - penalty.to(dtype)
    if rigidity > 0.0 and not bool(target_mask.all() and reference_mask.all()):
        likeness = likeness - rigidity * distance_from_affine(likeness, grid, target_mask, reference_mask)

    def weigh(values: Tensor, here: Tensor, there: Tensor, colours: Tensor | None) -> Float[Tensor, "tokens tokens"]:
        """Logarithmic belief in every match."""
        if smoothness == 0.0:
            return (values / TEMPERATURE).masked_fill(~there, -torch.inf)
        return agree_with_neighbours(values, grid, here, there, weight=smoothness, colours=colours)

    free = belief = weigh(likeness, target_mask, reference_mask, colours)
    near = torch.zeros_like(target_mask)
    if pins is not None:
        near, lost = pins.penalty(grid)
        drawn = likeness.clone()
        drawn[near] -= lost.to(dtype)
        belief = torch.where(near[:, None], weigh(drawn, target_mask, reference_mask, colours), free)
        pinned, counterparts = pins.tokens(grid)
        belief[pinned] = -torch.inf
        belief[pinned, counterparts] = 0.0
    index = belief.argmax(dim=-1)
    confidence = None
    if rule.mutual:
        backward = weigh(likeness.T, reference_mask, target_mask, None).argmax(dim=-1)
        confidence = far_from_mutual(index, backward, grid)
    if rule.ratio:
        other = ratio_test(cosine, index, grid, reference_mask)
        confidence = other if confidence is None else torch.minimum(confidence, other)
    ranked, shares = rank(belief, rule.ranks) if rule.ranks > 1 else (None, None)
    found = TokenMap(grid, index, cosine.gather(1, index[:, None])[:, 0], confidence, ranked, shares)
    found = settle_doubts(found, target_mask, reference_mask) if rule.borrow else found
    if refinement == 0.0:
        return found
    refined = refine(found, belief, target_mask, colours, reach=refinement)
    if pins is not None:
        unpinned = replace(found, index=torch.where(near, free.argmax(dim=-1), found.index))
        alone = refine(unpinned, free, target_mask, colours, reach=refinement)
        places = torch.where(near[:, None], refined.places, alone.places)
        refined = LocalMaps(grid, places, torch.where(near[:, None, None], refined.slopes, alone.slopes))
    index, places = place_tokens(refined.places, grid, reference_mask)
    similarity = cosine.gather(1, index[:, None])[:, 0]
    found = replace(found, index=index, similarity=similarity, refined=replace(refined, places=places))
    return found if pins is None else hold_pins(found, pins)


def refine(
    found: TokenMap,
    belief: Float[Tensor, "tokens tokens"],
    target_mask: Bool[Tensor, " tokens"],
    colours: Float[Tensor, "tokens 3"] | None,
    *,
    reach: float,
) -> LocalMaps:
    """Matches between tokens, by what is believed around the best of them; a match that is not the most believed one
    any more stays where it is."""
    moved = found.index != belief.argmax(dim=-1)
    between = places_between(belief, found.grid)
    places = torch.where(moved[:, None], found.local_maps.places.to(between), between)
    return LocalMaps(found.grid, *fit_locally(places, found.grid, target_mask, colours, reach=reach))


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


def settle_doubts(token_map: TokenMap, inside: Bool[Tensor, " tokens"], there: Bool[Tensor, " tokens"]) -> TokenMap:
    """Doubted matches give way to those of the nearest token whose match is believed; then all are believed."""
    if token_map.confidence is None:
        return token_map
    index, changed = borrow_nearest(token_map.index, token_map.confidence, token_map.grid, inside, there)
    ranked = token_map.ranked
    if ranked is not None:
        ranked = torch.where(changed[:, None], index[:, None], ranked)
    return replace(token_map, index=index, ranked=ranked, confidence=None)


def combine_features(
    features: list[Float[Tensor, "_tokens _channels"]],
    grids: list[tuple[int, int]],
    mask: Float[Tensor, "height width"],
) -> tuple[Float[Tensor, "tokens channels"], tuple[int, int]]:
    """One descriptor per token from several layers: each without its mean over the mask, of unit length, brought to
    the finest grid and set side by side.

    The mean carries what all tokens share (high-norm and position components), which attracts wrong matches.
    """
    finest = max(grids, key=lambda grid: grid[0] * grid[1])
    columns = []
    for feature, grid in zip(features, grids, strict=True):
        weight = token_weights(mask, grid)[:, None].to(feature.dtype)
        mean = (feature * weight).sum(0, keepdim=True) / weight.sum()
        unit = F.normalize(feature - mean, dim=-1)
        picture = unit.T.unflatten(1, grid)[None]
        if grid != finest:
            picture = F.interpolate(picture, size=finest, mode="bilinear", align_corners=False)
        columns.append(picture[0].flatten(1).T)
    return torch.cat(columns, dim=-1), finest


def token_weights(mask: Float[Tensor, "height width"], grid: tuple[int, int]) -> Float[Tensor, " tokens"]:
    """Share of every token's area that the mask covers, 0 to 1."""
    return F.interpolate(mask[None, None], size=grid, mode="area")[0, 0].flatten()


def token_mask(mask: Float[Tensor, "height width"], grid: tuple[int, int]) -> Bool[Tensor, " tokens"]:
    """Tokens that lie inside the mask: covered by half at least, or, where the mask is finer than every token, the
    ones covered most."""
    weight = token_weights(mask, grid)
    return weight >= weight.max().clamp(max=0.5)
