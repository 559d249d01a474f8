"""The solver: dense semantic correspondence between tokens, from features, masks and constraints.

The paper's section 3.1, `argmax_q cos(F_out(p), F_ref(q))`, as one masked matrix product instead of a loop over tokens,
and around it what is ours: neighbours in the target should match neighbours in the reference. Every target token has a
posterior over all reference tokens, found by mean-field inference in a random field over the target's token grid: its
own cosine evidence times the posteriors of the eight tokens around it, those of its own colour most (as in the
bilateral terms of Krähenbühl and Koltun, arXiv 1210.5644), blurred over the reference. The blur is the same in every
direction, so rotated and mirrored pictures are served alike. That neighbours vote for each other's matches is the idea
of neighbourhood consensus (Rocco et al., arXiv 1810.10510), without its training.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from core.images.geometry import token_weights
from core.matching.confidence import continue_nearest, mutual_confidence, ratio_test
from core.matching.correspondence import Correspondence, LocalAffine, nearest_inside
from core.matching.global_affine import distance_from_affine
from core.matching.landmarks import CanvasLandmarks, fix_landmarks
from core.matching.local_affine import SAME_COLOR, fit_locally, places_between
from core.matching.piecewise_affine import follow_segments
from core.params.transfer import MatchingParams
from core.types import Outlines

CHUNK_ELEMENTS = 64 * 1024 * 1024
"""Largest similarity matrix in memory at once: 256 MiB in float32, four times the one of 4096 x 4096 tokens."""
TEMPERATURE = 0.08
"""Difference in cosine that makes a match e times as likely."""
BLUR_TOKENS = 2.0
"""How far apart, in tokens, the matches of neighbours usually lie (standard deviation)."""
ITERATIONS = 8
RING = tuple((down, right) for down in (-1, 0, 1) for right in (-1, 0, 1) if down or right)
FLOOR = 1e-4
"""Share of probability that is always left to a jump between surfaces."""


@dataclass(frozen=True)
class TokenFeatures:
    """One descriptor for every token of both pictures."""

    target: Float[Tensor, "tokens channels"]
    reference: Float[Tensor, "tokens channels"]
    grid: tuple[int, int]
    """Rows and columns, the same for both."""


@dataclass(frozen=True)
class TokenMasks:
    """Which tokens take part."""

    target: Bool[Tensor, " tokens"]
    reference: Bool[Tensor, " tokens"]


@dataclass(frozen=True)
class Constraints:
    """What restricts a match beside the similarity of its features."""

    outlines: Outlines | None = None
    """Of a figure that masks set apart, which one affine map can carry."""
    landmarks: CanvasLandmarks | None = None
    penalty: Float[Tensor, "tokens tokens"] | None = None
    """What every match loses, as a cosine."""
    colours: Float[Tensor, "tokens 3"] | None = None
    """Of the target's tokens (RGB, 0 to 1): they tell which neighbours are of one surface."""


UNCONSTRAINED = Constraints()


def solve(
    features: TokenFeatures, masks: TokenMasks, params: MatchingParams, constraints: Constraints = UNCONSTRAINED
) -> Correspondence:
    """The correspondence that features, neighbours, figure and landmarks agree on.

    `params.neighbor_weight` weighs a token's neighbours, `global_affine_weight` one affine map of the whole figure,
    `filter` gives a confidence; with `local_affine_sigma`, matches lie between tokens, are smoothed over so many, and
    follow at most `max_segments` affine maps. With all of them off this is the paper's argmax.

    Holds a few matrices of tokens squared; of more than CHUNK_ELEMENTS (8192 tokens) only the argmax is made. At least
    one reference token must be inside its mask. Raises nothing.
    """
    if len(features.target) * len(features.reference) > CHUNK_ELEMENTS:
        params = plain(params)
    if _is_plain(params, constraints):
        return Correspondence(features.grid, *match_tokens(features.target, features.reference, masks.reference))
    cosine = cosines(features.target, features.reference)
    similarity = _constrained(cosine, features.grid, masks, params, constraints)
    free = posterior = _log_posterior(similarity, features.grid, masks, params, constraints.colours)
    landmarks = constraints.landmarks
    near = None
    if landmarks is not None:
        near, drawn = _drawn_to_landmarks(similarity, features.grid, landmarks)
        drawn = _log_posterior(drawn, features.grid, masks, params, constraints.colours)
        posterior = torch.where(near[:, None], drawn, free)
        _certain_at_landmarks(posterior, landmarks, features.grid)
    backward = None
    if params.filter in ("mutual", "both") or params.max_segments * params.local_affine_sigma > 0:
        swapped = TokenMasks(masks.reference, masks.target)
        backward = _log_posterior(similarity.T, features.grid, swapped, params, None)
    index = posterior.argmax(dim=-1)
    confidence = _confidence(index, backward, cosine, features.grid, masks.reference, params)
    found = Correspondence(features.grid, index, cosine.gather(1, index[:, None])[:, 0], confidence)
    if params.fill == "nearest":
        found = fill_untrusted(found, masks)
    if params.local_affine_sigma == 0.0:
        return found
    field = _Field(posterior, backward, cosine, masks, constraints.colours)
    if landmarks is None or near is None:
        refined = _refined(found, field, params)
    else:
        unfixed = replace(found, index=torch.where(near, free.argmax(dim=-1), found.index))
        elsewhere = _refined(unfixed, replace(field, log_posterior=free), params)
        around = _refined(found, field, params.model_copy(update={"max_segments": 0}))
        refined = around.where(near, elsewhere)
    found = _settled(found, refined, cosine, masks.reference)
    return found if landmarks is None else fix_landmarks(found, landmarks)


def plain(params: MatchingParams) -> MatchingParams:
    """The same without neighbours, figure and refinement, as layers match for themselves (the paper)."""
    off = {"neighbor_weight": 0.0, "global_affine_weight": 0.0, "local_affine_sigma": 0.0, "max_segments": 0}
    return params.model_copy(update=off)


def _is_plain(params: MatchingParams, constraints: Constraints) -> bool:
    """Whether nothing but the argmax of cosines is left to do."""
    affine = params.global_affine_weight if constraints.outlines is not None else 0.0
    weights = (params.neighbor_weight, affine, params.local_affine_sigma)
    constrained = constraints.landmarks is not None or constraints.penalty is not None
    return not any(weights) and not constrained and params.filter == "none"


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


def cosines(
    target: Float[Tensor, "tokens channels"], reference: Float[Tensor, "tokens channels"]
) -> Float[Tensor, "tokens tokens"]:
    """Of every token of the target with every one of the reference, in float32 at least."""
    dtype = torch.promote_types(target.dtype, torch.float32)
    similarity: Tensor = F.normalize(target.to(dtype), dim=-1) @ F.normalize(reference.to(dtype), dim=-1).T
    return similarity


def agree_with_neighbours(
    cosine: Float[Tensor, "target_tokens reference_tokens"],
    grid: tuple[int, int],
    masks: TokenMasks,
    *,
    weight: float,
    colours: Float[Tensor, "target_tokens 3"] | None = None,
) -> Float[Tensor, "target_tokens reference_tokens"]:
    """Logarithm of every target token's posterior over reference tokens, up to a constant per row; -inf outside the
    reference mask. `weight` is that of the neighbours; at 0 the order of every row is that of its cosines.

    Both pictures have their tokens on `grid`. Tokens outside the target mask have no weight. With `colours`, of the
    target's tokens (RGB, 0 to 1), neighbours of another colour have less.
    """
    evidence = (cosine / TEMPERATURE).masked_fill(~masks.reference, -torch.inf)
    neighbours = _neighbours(grid, masks.target.to(cosine.dtype), colours)
    posterior = evidence
    for _ in range(ITERATIONS):
        message = torch.sparse.mm(neighbours, _blur(torch.softmax(posterior, dim=-1), grid))
        posterior = evidence + weight * torch.log(message + FLOOR)
    return posterior


def fill_untrusted(found: Correspondence, masks: TokenMasks) -> Correspondence:
    """Matches that are not trusted give way to those of the nearest token whose match is; then all are trusted."""
    if found.confidence is None:
        return found
    index, _ = continue_nearest(found.index, found.confidence, found.grid, masks.target, masks.reference)
    return replace(found, index=index, confidence=None)


def combine_features(
    features: Sequence[Float[Tensor, "_tokens _channels"]],
    grids: Sequence[tuple[int, int]],
    mask: Float[Tensor, "height width"],
    weights: Sequence[float] | None = None,
) -> tuple[Float[Tensor, "tokens channels"], tuple[int, int]]:
    """One descriptor per token from several layers: each without its mean over the mask, of unit length, brought to
    the finest grid and set side by side. `weights` are those of their cosines, all 1 unless given.

    The mean carries what all tokens share (high-norm and position components), which attracts wrong matches.
    """
    finest = max(grids, key=lambda grid: grid[0] * grid[1])
    columns = []
    for feature, grid, weight in zip(features, grids, weights or [1.0] * len(grids), strict=True):
        share = token_weights(mask, grid)[:, None].to(feature.dtype)
        mean = (feature * share).sum(0, keepdim=True) / share.sum()
        unit = weight**0.5 * F.normalize(feature - mean, dim=-1)
        picture = unit.T.unflatten(1, grid)[None]
        if grid != finest:
            picture = F.interpolate(picture, size=finest, mode="bilinear", align_corners=False)
        columns.append(picture[0].flatten(1).T)
    return torch.cat(columns, dim=-1), finest


def _constrained(
    cosine: Float[Tensor, "tokens tokens"],
    grid: tuple[int, int],
    masks: TokenMasks,
    params: MatchingParams,
    constraints: Constraints,
) -> Float[Tensor, "tokens tokens"]:
    """Cosines less what matches lose by the parts that they join and by their distance from the figure's map."""
    penalty = constraints.penalty
    similarity = cosine if penalty is None else cosine - penalty.to(cosine.dtype)
    weight, outlines = params.global_affine_weight, constraints.outlines
    if outlines is None or weight == 0.0 or bool(masks.target.all() and masks.reference.all()):
        return similarity
    return similarity - weight * distance_from_affine(similarity, grid, outlines)


def _log_posterior(
    similarity: Float[Tensor, "tokens tokens"],
    grid: tuple[int, int],
    masks: TokenMasks,
    params: MatchingParams,
    colours: Float[Tensor, "tokens 3"] | None,
) -> Float[Tensor, "tokens tokens"]:
    if params.neighbor_weight == 0.0:
        return (similarity / TEMPERATURE).masked_fill(~masks.reference, -torch.inf)
    return agree_with_neighbours(similarity, grid, masks, weight=params.neighbor_weight, colours=colours)


def _certain_at_landmarks(
    log_posterior: Float[Tensor, "tokens tokens"], landmarks: CanvasLandmarks, grid: tuple[int, int]
) -> None:
    """Makes the token under every landmark certain of its counterpart, in place."""
    fixed, counterparts = landmarks.tokens(grid)
    log_posterior[fixed] = -torch.inf
    log_posterior[fixed, counterparts] = 0.0


def _drawn_to_landmarks(
    similarity: Float[Tensor, "tokens tokens"], grid: tuple[int, int], landmarks: CanvasLandmarks
) -> tuple[Bool[Tensor, " tokens"], Float[Tensor, "tokens tokens"]]:
    """Which tokens are near a landmark, and the similarities less what their matches lose there."""
    near, lost = landmarks.penalty(grid)
    drawn = similarity.clone()
    drawn[near] -= lost.to(similarity.dtype)
    return near, drawn


def _confidence(
    index: Int[Tensor, " tokens"],
    backward: Float[Tensor, "tokens tokens"] | None,
    cosine: Float[Tensor, "tokens tokens"],
    grid: tuple[int, int],
    reference_mask: Bool[Tensor, " tokens"],
    params: MatchingParams,
) -> Float[Tensor, " tokens"] | None:
    """The least confidence of the tests that `params.filter` names; None: all matches are trusted. `backward` is the
    log-posterior of the reference's tokens."""
    tests = []
    if params.filter in ("mutual", "both") and backward is not None:
        tests.append(mutual_confidence(index, backward.argmax(dim=-1), grid))
    if params.filter in ("ratio", "both"):
        tests.append(ratio_test(cosine, index, grid, reference_mask))
    return torch.stack(tests).amin(dim=0) if tests else None


@dataclass(frozen=True)
class _Field:
    """The random field after inference."""

    log_posterior: Float[Tensor, "tokens tokens"]
    backward: Float[Tensor, "tokens tokens"] | None
    """Log-posterior of the reference's tokens over the target's."""
    cosine: Float[Tensor, "tokens tokens"]
    masks: TokenMasks
    colours: Float[Tensor, "tokens 3"] | None


def _refined(found: Correspondence, field: _Field, params: MatchingParams) -> LocalAffine:
    """Matches between tokens, by the posterior around the best of them, smoothed, and following segments, which are
    fitted to the reference's matches as well; a match that is not the most probable one any more stays where it is
    before that."""
    moved = found.index != field.log_posterior.argmax(dim=-1)
    between = places_between(field.log_posterior, found.grid)
    places = torch.where(moved[:, None], found.local_affine.places.to(between), between)
    masks, colours = field.masks, field.colours
    fitted = fit_locally(places, found.grid, masks.target, colours, sigma=params.local_affine_sigma)
    local = LocalAffine(found.grid, *fitted)
    if field.backward is None:
        return local
    back = places_between(field.backward, found.grid)
    segments = params.max_segments
    return follow_segments(
        local, places, back, field.cosine, masks.target, masks.reference, colours, max_segments=segments
    )


def _settled(
    found: Correspondence,
    refined: LocalAffine,
    cosine: Float[Tensor, "tokens tokens"],
    reference_mask: Bool[Tensor, " tokens"],
) -> Correspondence:
    """The map with its refined places, none of them beyond the mask, and the tokens in which they lie."""
    index, places = nearest_inside(refined.places, found.grid, reference_mask)
    similarity = cosine.gather(1, index[:, None])[:, 0]
    return replace(found, index=index, similarity=similarity, refined=replace(refined, places=places))


def _blur(
    posterior: Float[Tensor, "target_tokens reference_tokens"], grid: tuple[int, int]
) -> Float[Tensor, "target_tokens reference_tokens"]:
    """Gaussian over the reference's grid; what leaves the grid is lost."""
    down, across = (_gaussian(side, posterior) for side in grid)
    blurred: Tensor = (down @ posterior.unflatten(1, grid) @ across).flatten(1)
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
    grid: tuple[int, int], weights: Float[Tensor, " tokens"], colours: Float[Tensor, "tokens 3"] | None
) -> Float[Tensor, "tokens tokens"]:
    """Sparse: the share that each of the eight tokens around a token has in its message."""
    rows, columns = grid
    token = torch.arange(rows * columns, device=weights.device)
    row, column = token // columns, token % columns
    receivers, senders = [], []
    for down, right in RING:
        there = (row + down >= 0) & (row + down < rows) & (column + right >= 0) & (column + right < columns)
        receivers.append(token[there])
        senders.append(token[there] + down * columns + right)
    receiver, sender = torch.cat(receivers), torch.cat(senders)
    weight = weights[sender]
    if colours is not None:
        apart = (colours[receiver] - colours[sender]).square().sum(-1)
        weight = weight * torch.exp(-0.5 * apart / SAME_COLOR**2).to(weight.dtype)
    total = torch.zeros_like(weights).index_add_(0, receiver, weight)
    share = weight / total[receiver].clamp(min=torch.finfo(weight.dtype).tiny)
    size = (len(token), len(token))
    return torch.sparse_coo_tensor(torch.stack([receiver, sender]), share, size, check_invariants=False)
