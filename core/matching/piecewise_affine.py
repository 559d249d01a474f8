"""Things that move are made of segments, and each keeps its shape: matches follow the affine maps of few segments.

A wing turned against its body, the near and the far side of a roof: within one of them a correspondence is nearly
affine, across them it is not. Local maps (`core.matching.local_affine`) cover a few tokens and bend a pattern where
those err; the map of the whole figure (`core.matching.global_affine`) has no joints. Between the two, a mixture of
affine maps is fitted to the matches by expectation maximisation: every segment has a place in the target, as an
ellipse, and a map. It starts from the local maps that explain the most matches, each the most of what is left.

A match is a mean over a posterior, so matches of the target's tokens draw the reference smaller than it is, and those
of the reference's tokens draw the target so: segments are fitted to both, and the two cancel. Distances of matches from
their segment's map follow Student's distribution, which wrong ones hardly disturb (Peel and McLachlan, "Robust mixture
modelling using the t distribution", Statistics and Computing 10, 2000). A token follows its segment unless its features
match worse there.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import grid_sample

from core.images.geometry import extent, token_places
from core.matching.correspondence import LocalAffine
from core.matching.local_affine import figure_slope, fit_locally, mean_around

SEED_SIGMA = 2.5
"""Tokens over which the local maps are fitted that segments may start from (standard deviation)."""
CANDIDATES = 256
"""At most so many of them, evenly."""
SPREAD = 5.0
"""Tokens around its middle that a segment covers at first (standard deviation)."""
MIN_MATCHES = 6.0
"""Matches, of both ways, that a further segment has to explain better than those before."""
OFF = 1.0
"""How far off its segment's map a match usually lies, in tokens: scale of Student's distribution of two degrees."""
ITERATIONS = 12
RIDGE = 1.0
"""Weight of the whole figure's slope in a segment's, in matches one token away from its middle."""
MAX_MOVE = 3.0
"""Tokens: a match that lies farther off its segment stays where it is."""
MAX_LOSS = 0.015
"""Cosine, on the mean over the tokens around, that following may cost."""


def follow_segments(
    local: LocalAffine,
    places: Float[Tensor, "tokens 2"],
    back: Float[Tensor, "tokens 2"],
    cosine: Float[Tensor, "tokens tokens"],
    inside: Bool[Tensor, " tokens"],
    there: Bool[Tensor, " tokens"],
    colours: Float[Tensor, "tokens 3"] | None,
    *,
    max_segments: int,
) -> LocalAffine:
    """The same map, the tokens `inside` following at most `max_segments` affine maps.

    They are fitted to the matched `places`, (x, y) in tokens, as they were before smoothing, and to the places of the
    target that the reference's tokens `there` matched, `back`. `colours` of the target's tokens (RGB, 0 to 1) tell
    surfaces apart.
    """
    if max_segments == 0:
        return local
    grid = local.grid
    centres = token_places(grid, places)
    own, before = centres[inside], local.places[inside]
    here, matched = torch.cat([own, back[there]]), torch.cat([places[inside], centres[there]])
    wide, bends = fit_locally(places, grid, inside, colours, sigma=SEED_SIGMA)
    seeds = _seeds(here, matched, own, wide[inside], bends[inside], max_segments)
    after, slopes = (of[: len(own)] for of in _fit(seeds, here, matched, figure_slope(places, grid, inside)))
    worse = torch.zeros_like(places[:, 0])
    worse[inside] = _cosine_at(before, cosine[inside], grid) - _cosine_at(after, cosine[inside], grid)
    worse = mean_around(worse, grid, inside, colours)[inside]
    follows = (worse <= MAX_LOSS) & ((after - before).norm(dim=1) <= MAX_MOVE)
    new_places, new_slopes = local.places.clone(), local.slopes.clone()
    new_places[inside] = torch.where(follows[:, None], after, before)
    new_slopes[inside] = torch.where(follows[:, None, None], slopes, local.slopes[inside])
    return LocalAffine(grid, new_places, new_slopes)


def _seeds(
    here: Float[Tensor, "matches 2"],
    matched: Float[Tensor, "matches 2"],
    middles: Float[Tensor, "inside 2"],
    places: Float[Tensor, "inside 2"],
    slopes: Float[Tensor, "inside 2 2"],
    max_segments: int,
) -> Float[Tensor, "matches segments"]:
    """Share of every match in each of the local maps around `middles` that segments start from; in superfluous ones,
    none."""
    count = len(middles)
    some = torch.linspace(0, count - 1, min(CANDIDATES, count), device=here.device).round().long()
    away = here - middles[some, None]
    off = places[some, None] + torch.einsum("cij,cnj->cni", slopes[some], away) - matched
    explained = torch.exp(-0.5 * ((off / OFF).square() + (away / SPREAD).square()).sum(-1))
    so_far, seeds = torch.zeros_like(here[:, 0]), []
    for _ in range(max_segments):
        more = (explained - so_far).clamp(min=0.0).sum(dim=1)
        seeds.append(explained[more.argmax()] * (more.max() >= MIN_MATCHES))
        so_far = torch.maximum(so_far, seeds[-1])
    share = torch.stack(seeds, dim=1)
    return share / share.sum(dim=1, keepdim=True).clamp(min=1.0)


def _fit(
    share: Float[Tensor, "matches segments"],
    here: Float[Tensor, "matches 2"],
    matched: Float[Tensor, "matches 2"],
    figure: Float[Tensor, "2 2"],
) -> tuple[Float[Tensor, "matches 2"], Float[Tensor, "matches 2 2"]]:
    """Where the map of its segment takes every match, and the map's slopes."""
    circle = torch.eye(2, device=here.device, dtype=here.dtype)
    ridge = torch.tensor([1e-5, RIDGE, RIDGE], device=here.device, dtype=here.dtype)
    prior = ridge[:, None] * torch.cat([torch.zeros_like(figure[:1]), figure.T])
    weight = share
    for _ in range(ITERATIONS):
        count = share.sum(dim=0).clamp(min=1e-6)
        middle = share.T @ here / count[:, None]
        away = here[:, None] - middle
        ellipse = torch.einsum("np,npi,npj->pij", share, away, away) / count[:, None, None] + circle
        design = torch.cat([torch.ones_like(away[..., :1]), away], dim=-1)
        normal = torch.einsum("np,npi,npj->pij", weight, design, design) + torch.diag(ridge)
        affine = torch.linalg.solve(normal, torch.einsum("np,npi,nj->pij", weight, design, matched) + prior)
        places = torch.einsum("npi,pij->npj", design, affine)
        off = (places - matched[:, None]).square().sum(-1) / OFF**2
        apart = torch.einsum("npi,pij,npj->np", away, torch.linalg.inv(ellipse), away) + torch.logdet(ellipse)
        share = torch.softmax(count.log() - 0.5 * apart - 2.0 * torch.log1p(off / 2.0), dim=1)
        weight = share / (1.0 + off / 2.0)
    segment = share.argmax(dim=1)
    return places[torch.arange(len(here), device=here.device), segment], affine[segment, 1:].transpose(1, 2)


def _cosine_at(
    places: Float[Tensor, "some 2"], cosine: Float[Tensor, "some reference_tokens"], grid: tuple[int, int]
) -> Float[Tensor, " some"]:
    """Every row's cosine at a place (x, y) between the reference's tokens."""
    at = (places / extent(grid, places) * 2.0 - 1.0)[:, None, None]
    return grid_sample(cosine.unflatten(1, (1, *grid)), at, padding_mode="border", align_corners=False)[:, 0, 0, 0]
