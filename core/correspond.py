"""One correspondence for the whole run, from one look at both clean pictures; and its description for people.

DIFT (Tang et al., arXiv 2306.03881): noise both pictures a little, read the UNet's features, average over draws. We
read the inputs of self-attention layers, where SDXL's semantics are best, instead of block outputs. A separate vision
model can speak instead, or beside it (arXiv 2305.15347).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from core.affine import AffineMap, fit_affine
from core.canvas import Canvas
from core.denoise import LatentPair
from core.errors import ModelMissingError, NonFiniteError
from core.grid import extent
from core.guidance import NoisePredictor
from core.match import combine_features, cosines, match_consistently, token_mask, token_weights
from core.models import Models
from core.pins import CanvasPins
from core.reading import read_layers
from core.rearrange import token_grid
from core.refine import token_colours
from core.regions import Canvases
from core.schedule import NoiseDraws
from core.token_map import TokenMap
from core.trust import PLAIN, MatchRule
from core.vision import place_features


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


@dataclass(frozen=True)
class Descriptors:
    """One network's features for the tokens of pictures."""

    features: Float[Tensor, "pictures tokens channels"]
    """Of the target, then of the reference, where both were read."""
    grid: tuple[int, int]
    say: float = 1.0
    """Beside others: what its cosines weigh."""

    def beside(self, reference: "Descriptors") -> "Descriptors":
        """This target beside another view of the reference."""
        return replace(self, features=torch.cat([self.features[:1], reference.features]))


def read_unet(
    models: Models,
    predict_noise: NoisePredictor,
    clean: Float[Tensor, "pictures channels height width"],
    layers: list[str],
    *,
    noise_level: float,
    draws: int,
    seed: int,
) -> list[Descriptors]:
    """Inputs of `layers` for every picture at `noise_level` (t / 1000), averaged over `draws` noise draws, all
    together with the say of one network. One call of the UNet per draw, a row for each picture."""
    read = read_layers(
        models, predict_noise, clean, layers, noise_level=noise_level, draws=draws, noise=NoiseDraws(seed, row=2)
    )
    size = (clean.shape[2], clean.shape[3])
    share = 1.0 / len(read)
    return [Descriptors(features, token_grid(size, features.shape[1]), share) for features in read.values()]


def read_vision(
    models: Models, pictures: Float[Tensor, "pictures 3 height width"], grid: tuple[int, int]
) -> Descriptors:
    """What the correspondence model says of pictures. Raises ModelMissingError where none is held."""
    model = models.correspondence
    if model is None:
        raise ModelMissingError("correspondence")
    return Descriptors(place_features(model, pictures, grid), grid, model.fusion_weight)


def match_pictures(
    descriptors: list[Descriptors],
    pair: LatentPair,
    *,
    smoothness: float,
    rigidity: float = 0.0,
    pins: CanvasPins | None = None,
    penalty: Callable[[tuple[int, int]], Tensor] | None = None,
    rule: MatchRule = PLAIN,
    refinement: float = 0.0,
    pieces: int = 0,
    guide: Float[Tensor, "3 height width"] | None = None,
) -> TokenMap:
    """Match the target's tokens to the reference's, every network having its say. `penalty` gives for a grid what
    every match loses; `guide` is the target's picture."""
    target, reference, grid = _combined(descriptors, pair)
    return match_consistently(
        target,
        reference,
        grid,
        token_mask(pair.target_mask, grid),
        token_mask(pair.reference_mask, grid),
        smoothness=smoothness,
        rigidity=rigidity,
        pins=pins,
        penalty=None if penalty is None else penalty(grid),
        rule=rule,
        refinement=refinement,
        pieces=pieces,
        colours=None if guide is None else token_colours(guide, grid),
    )


def figure_map(descriptors: list[Descriptors], pair: LatentPair) -> AffineMap:
    """The affine map of the whole masked figure, in fractions of both pictures. Raises NonFiniteError."""
    target, reference, grid = _combined(descriptors, pair)
    cosine = cosines(target, reference)
    found = fit_affine(cosine, grid, token_mask(pair.target_mask, grid), token_mask(pair.reference_mask, grid))
    if not bool(torch.isfinite(found.linear).all()):
        raise NonFiniteError("the correspondence is not finite")
    share = 1.0 / extent(grid, cosine)
    return found.rescaled(share, share)


def _combined(descriptors: list[Descriptors], pair: LatentPair) -> tuple[Tensor, Tensor, tuple[int, int]]:
    """One descriptor `[tokens, channels]` per token of the target and of the reference, and their grid."""
    grids, says = [of.grid for of in descriptors], [of.say for of in descriptors]
    target, grid = combine_features([of.features[0] for of in descriptors], grids, pair.target_mask, says)
    reference, _ = combine_features([of.features[1] for of in descriptors], grids, pair.reference_mask, says)
    return target, reference, grid


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
