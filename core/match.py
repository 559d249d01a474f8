"""Dense semantic correspondence between tokens: who in the reference looks most like me.

The paper's section 3.1 (`argmax_q cos(F_out(p), F_ref(q))`), as one masked matrix product instead of a loop over
tokens. Features of diffusion networks as descriptors: DIFT (Tang et al., arXiv 2306.03881).
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from core.affine import distance_from_affine
from core.consensus import TEMPERATURE, agree_with_neighbours
from core.pieces import follow_pieces
from core.pins import CanvasPins
from core.refine import fit_locally, places_between
from core.token_map import LocalMaps, TokenMap, hold_pins, place_tokens
from core.trust import PLAIN, MatchRule, borrow_nearest, far_from_mutual, rank, ratio_test

CHUNK_ELEMENTS = 64 * 1024 * 1024
"""Largest similarity matrix held at once: 256 MiB in float32, four times the one of 4096 x 4096 tokens."""


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
    pieces: int = 0,
    colours: Float[Tensor, "tokens 3"] | None = None,
) -> TokenMap:
    """As `match_tokens`, but every token listens to its neighbours with weight `smoothness`, to one affine map of the
    whole figure with weight `rigidity`, and near `pins` to them. `penalty` is taken from the cosines first. With
    `refinement`, matches lie between tokens, are smoothed over about so many, and follow at most so many `pieces`.
    `colours` of the target's tokens (RGB, 0 to 1) tell which neighbours are of one surface.

    A figure is what masks set apart: where they cover everything, no affine map is asked. Holds a few matrices of
    tokens squared; of more than CHUNK_ELEMENTS (8192 tokens) neither neighbours nor figure are heard.
    """
    if len(target) * len(reference) > CHUNK_ELEMENTS:
        smoothness = rigidity = refinement = 0.0
    if smoothness == rigidity == refinement == 0.0 and pins is None and penalty is None and rule == PLAIN:
        return TokenMap(grid, *match_tokens(target, reference, reference_mask))
    cosine = cosines(target, reference)
    likeness = cosine if penalty is None else cosine - penalty.to(cosine.dtype)
    if rigidity > 0.0 and not bool(target_mask.all() and reference_mask.all()):
        likeness = likeness - rigidity * distance_from_affine(likeness, grid, target_mask, reference_mask)

    def weigh(values: Tensor, here: Tensor, there: Tensor, colours: Tensor | None) -> Float[Tensor, "tokens tokens"]:
        """Logarithmic belief in every match."""
        if smoothness == 0.0:
            return (values / TEMPERATURE).masked_fill(~there, -torch.inf)
        return agree_with_neighbours(values, grid, here, there, weight=smoothness, colours=colours)

    free = belief = weigh(likeness, target_mask, reference_mask, colours)
    if pins is not None:
        near, drawn = _drawn_to_pins(likeness, grid, pins)
        belief = torch.where(near[:, None], weigh(drawn, target_mask, reference_mask, colours), free)
        _believe_pins(belief, pins, grid)
    index = belief.argmax(dim=-1)
    backward = weigh(likeness.T, reference_mask, target_mask, None) if rule.mutual or pieces * refinement > 0 else None
    confidence = _confidence(index, backward, cosine, grid, reference_mask, rule)
    ranked, shares = rank(belief, rule.ranks) if rule.ranks > 1 else (None, None)
    found = TokenMap(grid, index, cosine.gather(1, index[:, None])[:, 0], confidence, ranked, shares)
    masks = (target_mask, reference_mask)
    found = settle_doubts(found, *masks) if rule.borrow else found
    if refinement == 0.0:
        return found
    refined = refine(found, belief, backward, cosine, masks, colours, reach=refinement, pieces=0 if pins else pieces)
    if pins is not None:
        unpinned = replace(found, index=torch.where(near, free.argmax(dim=-1), found.index))
        elsewhere = refine(unpinned, free, backward, cosine, masks, colours, reach=refinement, pieces=pieces)
        refined = refined.where(near, elsewhere)
    found = _settled(found, refined, cosine, reference_mask)
    return found if pins is None else hold_pins(found, pins)


def cosines(
    target: Float[Tensor, "tokens channels"], reference: Float[Tensor, "tokens channels"]
) -> Float[Tensor, "tokens tokens"]:
    """Of every token of the target with every one of the reference, in float32 at least."""
    dtype = torch.promote_types(target.dtype, torch.float32)
    similarity: Tensor = F.normalize(target.to(dtype), dim=-1) @ F.normalize(reference.to(dtype), dim=-1).T
    return similarity


def _believe_pins(belief: Float[Tensor, "tokens tokens"], pins: CanvasPins, grid: tuple[int, int]) -> None:
    """Makes pinned tokens sure of their counterparts, in place."""
    pinned, counterparts = pins.tokens(grid)
    belief[pinned] = -torch.inf
    belief[pinned, counterparts] = 0.0


def _settled(
    found: TokenMap,
    refined: LocalMaps,
    cosine: Float[Tensor, "tokens tokens"],
    reference_mask: Bool[Tensor, " tokens"],
) -> TokenMap:
    """The map with its refined places, none of them beyond the mask, and the tokens in which they lie."""
    index, places = place_tokens(refined.places, found.grid, reference_mask)
    similarity = cosine.gather(1, index[:, None])[:, 0]
    return replace(found, index=index, similarity=similarity, refined=replace(refined, places=places))


def _confidence(
    index: Int[Tensor, " tokens"],
    backward: Float[Tensor, "tokens tokens"] | None,
    cosine: Float[Tensor, "tokens tokens"],
    grid: tuple[int, int],
    reference_mask: Bool[Tensor, " tokens"],
    rule: MatchRule,
) -> Float[Tensor, " tokens"] | None:
    """How far matches are to be believed by a rule; `backward` is what the reference's tokens believe."""
    tests = [far_from_mutual(index, backward.argmax(dim=-1), grid)] if rule.mutual and backward is not None else []
    if rule.ratio:
        tests.append(ratio_test(cosine, index, grid, reference_mask))
    return torch.stack(tests).amin(dim=0) if tests else None


def _drawn_to_pins(
    likeness: Float[Tensor, "tokens tokens"], grid: tuple[int, int], pins: CanvasPins
) -> tuple[Bool[Tensor, " tokens"], Float[Tensor, "tokens tokens"]]:
    """Which tokens are near a pin, and the likenesses less what their matches lose there."""
    near, lost = pins.penalty(grid)
    drawn = likeness.clone()
    drawn[near] -= lost.to(likeness.dtype)
    return near, drawn


def refine(
    found: TokenMap,
    belief: Float[Tensor, "tokens tokens"],
    backward: Float[Tensor, "tokens tokens"] | None,
    cosine: Float[Tensor, "tokens tokens"],
    masks: tuple[Bool[Tensor, " tokens"], Bool[Tensor, " tokens"]],
    colours: Float[Tensor, "tokens 3"] | None,
    *,
    reach: float,
    pieces: int,
) -> LocalMaps:
    """Matches between tokens, by what is believed around the best of them, smoothed, and following pieces, which also
    hear what the reference's tokens believe; a match that is not the most believed one any more stays where it is
    before that. `masks` of target and reference."""
    moved = found.index != belief.argmax(dim=-1)
    between = places_between(belief, found.grid)
    places = torch.where(moved[:, None], found.local_maps.places.to(between), between)
    local = LocalMaps(found.grid, *fit_locally(places, found.grid, masks[0], colours, reach=reach))
    if backward is None:
        return local
    back = places_between(backward, found.grid)
    return follow_pieces(local, places, back, cosine, *masks, colours, most=pieces)


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
    says: Sequence[float] | None = None,
) -> tuple[Float[Tensor, "tokens channels"], tuple[int, int]]:
    """One descriptor per token from several layers: each without its mean over the mask, of unit length, brought to
    the finest grid and set side by side. `says` are the weights of their cosines, equal ones unless told.

    The mean carries what all tokens share (high-norm and position components), which attracts wrong matches.
    """
    finest = max(grids, key=lambda grid: grid[0] * grid[1])
    columns = []
    for feature, grid, say in zip(features, grids, says or [1.0] * len(grids), strict=True):
        weight = token_weights(mask, grid)[:, None].to(feature.dtype)
        mean = (feature * weight).sum(0, keepdim=True) / weight.sum()
        unit = say**0.5 * F.normalize(feature - mean, dim=-1)
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
