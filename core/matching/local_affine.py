"""Matches finer than a token, and an affine map around each of them.

The best of a token's matches lies between tokens: at the mean of its posterior around the best one. And neighbours
on one surface move together: around every token an affine map is fitted to the places of those near it and of its
colour, by weighted least squares (moving least squares, Schaefer, McPhail, Warren 2006), made robust against wrong
matches by Cauchy weights.
"""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from core.images.geometry import token_places

NEAR_BEST = 1.6
"""Tokens. Probability farther than this from the best match belongs to another place."""
SAME_COLOR = 0.1
"""Difference of colours (RGB, 0 to 1) at which a neighbour weighs 0.61."""
ASTRAY = 1.5
"""Tokens off the fitted map at which a match weighs half."""
ITERATIONS = 5
RIDGE = 0.1
"""Weight of the whole figure's slope in a token's, in neighbours."""
MIN_SIGMA = 0.1
"""Tokens. A neighbour weighs nothing by then, and the squares of much smaller ones are 0 in float32."""
OWN_WEIGHT = 1e-5
"""Weight of a token's own place beside those of its neighbours."""


def places_between(log_posterior: Float[Tensor, "tokens tokens"], grid: tuple[int, int]) -> Float[Tensor, "tokens 2"]:
    """Where every token matches, (x, y) in tokens on `grid`: the mean of its posterior near the best match. The
    logarithm need not be normalised."""
    places = token_places(grid, log_posterior)
    best = places[log_posterior.argmax(dim=-1)]
    near = torch.cdist(best, places) <= NEAR_BEST
    return torch.softmax(log_posterior.masked_fill(~near, -torch.inf), dim=-1) @ places


def fit_locally(
    places: Float[Tensor, "tokens 2"],
    grid: tuple[int, int],
    inside: Bool[Tensor, " tokens"],
    colours: Float[Tensor, "tokens 3"] | None,
    *,
    sigma: float,
) -> tuple[Float[Tensor, "tokens 2"], Float[Tensor, "tokens 2 2"]]:
    """Places (x, y), in tokens, smoothed over a Gaussian of `sigma` tokens, and their change per token to the right and
    down (columns). `colours` are those of the target's tokens (RGB, 0 to 1).

    Tokens that are not `inside` have no weight.
    """
    sigma = max(sigma, MIN_SIGMA)
    radius = math.ceil(3.0 * sigma)
    offsets = steps_around(radius, places)
    weight = (
        torch.exp(-0.5 * offsets.square().sum(-1) / sigma**2)[:, None]
        * around(inside[:, None].to(places), grid, radius)[..., 0]
    )
    if colours is not None:
        weight = weight * alike(colours.to(places), grid, radius)
    near = around(places, grid, radius)
    design = torch.cat([torch.ones_like(offsets[:, :1]), offsets], dim=1)
    ridge = torch.tensor([OWN_WEIGHT, RIDGE, RIDGE], device=places.device, dtype=places.dtype) * sigma**2
    prior = torch.zeros(len(places), 3, 2, device=places.device, dtype=places.dtype)
    prior[:, 0], prior[:, 1:] = places, figure_slope(places, grid, inside).T
    doubt = torch.ones_like(weight)
    for _ in range(ITERATIONS):
        weighted = (weight * doubt)[..., None] * design[:, None]
        normal = torch.einsum("nti,nj->tij", weighted, design) + torch.diag(ridge)
        solution = torch.linalg.solve(normal, torch.einsum("nti,ntk->tik", weighted, near) + ridge[:, None] * prior)
        missed = near - torch.einsum("ni,tik->ntk", design, solution)
        doubt = 1.0 / (1.0 + missed.square().sum(-1) / ASTRAY**2)
    return solution[:, 0], solution[:, 1:].transpose(1, 2)


def figure_slope(
    places: Float[Tensor, "tokens 2"], grid: tuple[int, int], inside: Bool[Tensor, " tokens"]
) -> Float[Tensor, "2 2"]:
    """How places change per token to the right and down over all tokens inside: least squares, drawn a little towards a
    plain copy."""
    own, other = token_places(grid, places)[inside], places[inside]
    own, other = own - own.mean(0), other - other.mean(0)
    plain = torch.eye(2, device=places.device, dtype=places.dtype)
    slope: Tensor = torch.linalg.solve(own.T @ own + plain, own.T @ other + plain).T
    return slope


def mean_around(
    values: Float[Tensor, " tokens"],
    grid: tuple[int, int],
    inside: Bool[Tensor, " tokens"],
    colours: Float[Tensor, "tokens 3"] | None,
) -> Float[Tensor, " tokens"]:
    """Of the 3 x 3 tokens around every one inside, those of its colour most."""
    weight = around(inside[:, None].to(values), grid, 1)[..., 0]
    if colours is not None:
        weight = weight * alike(colours.to(values), grid, 1)
    return (weight * around(values[:, None], grid, 1)[..., 0]).sum(0) / weight.sum(0).clamp(min=1e-6)


def alike(colours: Float[Tensor, "tokens 3"], grid: tuple[int, int], radius: int) -> Float[Tensor, "neighbours tokens"]:
    """How far the tokens around every one share its colour, 0 to 1."""
    apart = (around(colours, grid, radius) - colours).square().sum(-1)
    return torch.exp(-0.5 * apart / SAME_COLOR**2)


def token_colours(picture: Float[Tensor, "3 height width"], grid: tuple[int, int]) -> Float[Tensor, "tokens 3"]:
    """The middle colour of every token's area."""
    return F.adaptive_avg_pool2d(picture[None], grid)[0].flatten(1).T


def steps_around(radius: int, like: Tensor) -> Float[Tensor, "neighbours 2"]:
    """The ways (x, y) to the square of tokens around a token, itself included, row by row."""
    steps = range(-radius, radius + 1)
    return torch.tensor([(x, y) for y in steps for x in steps], device=like.device, dtype=like.dtype)


def around(
    values: Float[Tensor, "tokens channels"], grid: tuple[int, int], radius: int
) -> Float[Tensor, "neighbours tokens channels"]:
    """The values of the tokens that `steps_around` leads to from every token; 0 beyond the grid."""
    planes = values.T.unflatten(1, grid)[None]
    unfolded = F.unfold(planes, 2 * radius + 1, padding=radius)[0]
    neighbours: Tensor = unfolded.unflatten(0, (values.shape[1], -1)).permute(1, 2, 0)
    return neighbours
