"""Dense semantic correspondence between tokens: who in the reference looks most like me.

The paper's section 3.1 (`argmax_q cos(F_out(p), F_ref(q))`), as one masked matrix product instead of a loop over
tokens. Features of diffusion networks as descriptors: DIFT (Tang et al., arXiv 2306.03881).

Neighbours in the target should match neighbours in the reference.

Every target token holds a belief over all reference tokens. Mean-field inference in a random field over the target's
token grid: a token's belief is its own cosine evidence times what the eight tokens around it believe, those of its own
colour most (as in the bilateral terms of Krähenbühl and Koltun, arXiv 1210.5644), blurred over the reference. The blur
is the same in every direction, so rotated and mirrored pictures are served alike. The idea that neighbours vote for
each other's matches is that of neighbourhood consensus (Rocco et al., arXiv 1810.10510), without its training.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from core.images.geometry import token_weights
from core.matching.confidence import PLAIN, MatchRule, borrow_nearest, far_from_mutual, rank, ratio_test
from core.matching.correspondence import LocalMaps, TokenMap, hold_pins, place_tokens
from core.matching.global_affine import distance_from_affine
from core.matching.landmarks import CanvasPins
from core.matching.local_affine import fit_locally, places_between
from core.matching.piecewise_affine import follow_pieces

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


TEMPERATURE = 0.08
"""Difference in cosine that makes a match e times as likely."""
BLUR_TOKENS = 2.0
"""How far apart, in tokens, the matches of neighbours usually lie (standard deviation)."""
ITERATIONS = 8
RING = tuple((down, right) for down in (-1, 0, 1) for right in (-1, 0, 1) if down or right)
FLOOR = 1e-4
"""Share of belief that is always left to a jump between surfaces."""
SAME_COLOUR = 0.1
"""Difference of colours (RGB, 0 to 1) at which a neighbour has 0.61 of its say."""


def agree_with_neighbours(
    cosine: Float[Tensor, "target_tokens reference_tokens"],
    grid: tuple[int, int],
    target_mask: Bool[Tensor, " target_tokens"],
    reference_mask: Bool[Tensor, " reference_tokens"],
    *,
    weight: float,
    colours: Float[Tensor, "target_tokens 3"] | None = None,
) -> Float[Tensor, "target_tokens reference_tokens"]:
    """Logarithmic belief of every target token in every reference token, up to a constant per row; -inf outside the
    reference mask. `weight` is the say of the neighbours; at 0 the order of every row is that of its cosines.

    Both pictures have their tokens on `grid`. Tokens outside the target mask have no say. With `colours`, of the
    target's tokens (RGB, 0 to 1), neighbours of another colour have less.
    """
    evidence = (cosine / TEMPERATURE).masked_fill(~reference_mask, -torch.inf)
    neighbours = _neighbours(grid, target_mask.to(cosine.dtype), colours)
    belief = evidence
    for _ in range(ITERATIONS):
        heard = torch.sparse.mm(neighbours, _blur(torch.softmax(belief, dim=-1), grid))
        belief = evidence + weight * torch.log(heard + FLOOR)
    return belief


def _blur(
    belief: Float[Tensor, "target_tokens reference_tokens"], grid: tuple[int, int]
) -> Float[Tensor, "target_tokens reference_tokens"]:
    """Gaussian over the reference's grid; what leaves the grid is lost."""
    down, across = (_gaussian(side, belief) for side in grid)
    blurred: Tensor = (down @ belief.unflatten(1, grid) @ across).flatten(1)
    return blurred


def _gaussian(side: int, like: Tensor) -> Float[Tensor, "side side"]:
    """The blur of `side` tokens in a row as a matrix: two products of it are far faster than a convolution over one
    picture for every token."""
    radius = int(3.0 * BLUR_TOKENS + 0.5)
    x = torch.arange(side, device=like.device, dtype=like.dtype)
    apart = (x[:, None] - x[None, :]).abs()
    kernel = torch.exp(-0.5 * (torch.arange(-radius, radius + 1) / BLUR_TOKENS) ** 2)
    return (torch.exp(-0.5 * (apart / BLUR_TOKENS) ** 2) / float(kernel.sum())).masked_fill(apart > radius, 0.0)


def _neighbours(
    grid: tuple[int, int], voices: Float[Tensor, " tokens"], colours: Float[Tensor, "tokens 3"] | None
) -> Float[Tensor, "tokens tokens"]:
    """Sparse: the share that each of the eight tokens around a token has in what it hears."""
    rows, columns = grid
    token = torch.arange(rows * columns, device=voices.device)
    row, column = token // columns, token % columns
    listeners, speakers = [], []
    for down, right in RING:
        there = (row + down >= 0) & (row + down < rows) & (column + right >= 0) & (column + right < columns)
        listeners.append(token[there])
        speakers.append(token[there] + down * columns + right)
    listener, speaker = torch.cat(listeners), torch.cat(speakers)
    say = voices[speaker]
    if colours is not None:
        apart = (colours[listener] - colours[speaker]).square().sum(-1)
        say = say * torch.exp(-0.5 * apart / SAME_COLOUR**2).to(say.dtype)
    total = torch.zeros_like(voices).index_add_(0, listener, say)
    share = say / total[listener].clamp(min=torch.finfo(say.dtype).tiny)
    size = (len(token), len(token))
    return torch.sparse_coo_tensor(torch.stack([listener, speaker]), share, size, check_invariants=False)
