"""One-shot matching: one correspondence for every region, from the clean pictures.

Both canvases, which show the figures cropped, are described by the UNet and the vision model, matched by the solver,
and, on demand, described once more with the reference moved onto the target by the affine map that the first match
gave.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from core.errors import ModelMissingError, NonFiniteError
from core.images.geometry import (
    WHOLE,
    AffineMap,
    crop,
    extent,
    mirrored,
    shrink_mask,
    token_at,
    token_mask,
    token_places,
)
from core.matching.correspondence import Correspondence, LocalAffine, uncropped
from core.matching.global_affine import fit_affine
from core.matching.landmarks import CanvasLandmarks, fix_landmarks, place_landmarks
from core.matching.local_affine import fit_locally, token_colours
from core.matching.solver import Constraints, TokenFeatures, TokenMasks, combine_features, cosines, solve
from core.models.features import Descriptors, describe_by_unet, describe_by_vision_model
from core.models.models import Models
from core.models.part_classifier import disagreement
from core.models.unet import select_layers
from core.models.vae import encode_picture
from core.params.selection import Place
from core.params.transfer import MatchingParams
from core.scene import Scene
from core.types import Canvas, EncodedRegion, Latent, LatentMask, Mask, Outlines, Picture


@dataclass(frozen=True)
class View:
    """One picture as the networks get it: the whole canvas, or a crop of it."""

    picture: Picture
    mask: Mask
    latent: Latent

    @property
    def latent_mask(self) -> LatentMask:
        """The mask at the latent's size."""
        return shrink_mask(self.mask.to(self.latent.dtype), (self.latent.shape[2], self.latent.shape[3]))


def match_regions(scene: Scene, params: MatchingParams, seed: int) -> list[Correspondence]:
    """One correspondence per region, from the clean pictures, also where those that count are made while sampling.

    Raises ModelMissingError and NonFiniteError.
    """
    if params.source == "custom":
        grid = scene.models.finest_grid(scene.latent_size)
        return [custom_correspondence(params.custom_map, scene.target, region, grid) for region in scene.regions]
    return [match_region(scene, region, params, seed) for region in scene.regions]


def match_region(scene: Scene, region: EncodedRegion, params: MatchingParams, seed: int) -> Correspondence:
    """The best correspondence of one region. Features hardly distinguish left from right: with `params.mirrored` the
    reference is tried as its mirror image too, and the map of the higher mean similarity is kept."""
    found = [_match_through(scene, region, params, seed, WHOLE)]
    if params.mirrored:
        found.append(_match_through(scene, region, params, seed, mirrored(WHOLE)))
    within = token_mask(region.target_latent_mask, found[0].grid)
    return max(found, key=lambda one: float(one.similarity[within].mean()))


def _match_through(
    scene: Scene, region: EncodedRegion, params: MatchingParams, seed: int, there: AffineMap
) -> Correspondence:
    """The correspondence between the canvases, the reference's seen through a window."""
    size = (scene.target.picture.shape[1], scene.target.picture.shape[2])
    target = View(scene.target.picture, region.target_mask, scene.target_latent)
    whole = View(region.reference.picture, region.reference.mask, region.reference_latent)
    reference = _crop_view(scene, whole, there, size)
    descriptors = _describe(scene, [target, reference], params, seed)
    if params.realign and region.figure:
        onto = figure_map(descriptors, Outlines(target.latent_mask, reference.latent_mask, region.alike))
        there = there.after(onto.to(there.linear))
        reference = _crop_view(scene, whole, there, size)
        moved = [_with_reference_moved(one, onto) for one in descriptors]
        again = _describe(scene, [reference], params, seed)  # the target looks as before
        pairs = zip(descriptors, again, strict=True)
        descriptors = moved + [first.with_reference(second) for first, second in pairs]
    landmarks = region_landmarks(scene, region, params)
    moved_on = there is not WHOLE
    seen = landmarks.cropped(WHOLE, there, size) if moved_on and landmarks is not None else landmarks
    masks = (target.latent_mask, reference.latent_mask)
    features = combine_descriptors(descriptors, *masks)
    penalty = part_penalty(scene.models, target.picture, reference.picture, params, features.grid)
    colours = token_colours(target.picture, features.grid)
    outlines = Outlines(*masks, region.alike) if region.figure else None
    constraints = Constraints(outlines, seen, penalty, colours)
    found = solve(features, TokenMasks(*(token_mask(mask, features.grid) for mask in masks)), params, constraints)
    if not moved_on:
        return found
    found = uncropped(found, WHOLE, there, found.grid, token_mask(region.reference_latent_mask, found.grid))
    return found if landmarks is None else fix_landmarks(found, landmarks)


def _crop_view(scene: Scene, whole: View, window: AffineMap, size: tuple[int, int]) -> View:
    """A picture through a window, at `size` (height, width)."""
    if window is WHOLE:
        return whole
    picture = crop(window, whole.picture, size, beyond="border")
    mask = crop(window, whole.mask[None], size, beyond="zeros")[0]
    return View(picture, mask, encode_picture(scene.models.vae, picture, whole.latent.dtype))


def _describe(scene: Scene, views: Sequence[View], params: MatchingParams, seed: int) -> list[Descriptors]:
    """Descriptors of all views, by the networks that `params.source` names."""
    models, source = scene.models, params.source
    if source in ("auto", "per_layer", "per_step"):
        source = "unet" if models.correspondence is None else "fused"
    latents = torch.cat([view.latent for view in views])
    descriptors: list[Descriptors] = []
    if source != "vision":
        layers = matching_layers(models, params)
        level, draws = params.noise_level, params.ensemble_size
        descriptors += describe_by_unet(
            models, scene.predict, latents, layers, noise_level=level, draws=draws, seed=seed
        )
    if source in ("vision", "fused"):
        grid = models.finest_grid((latents.shape[2], latents.shape[3]))
        descriptors.append(describe_by_vision_model(models, torch.stack([view.picture for view in views]), grid))
    return descriptors


def combine_descriptors(
    descriptors: Sequence[Descriptors], target_mask: LatentMask, reference_mask: Float[Tensor, "height width"]
) -> TokenFeatures:
    """One descriptor per token of both pictures, from those of several networks, each by its weight."""
    grids, weights = [one.grid for one in descriptors], [one.weight for one in descriptors]
    target, grid = combine_features([one.features[0] for one in descriptors], grids, target_mask, weights)
    reference, _ = combine_features([one.features[1] for one in descriptors], grids, reference_mask, weights)
    return TokenFeatures(target, reference, grid)


def figure_map(descriptors: Sequence[Descriptors], outlines: Outlines) -> AffineMap:
    """The affine map of the whole masked figure, in fractions of both pictures. Raises NonFiniteError."""
    features = combine_descriptors(descriptors, outlines.target, outlines.reference)
    cosine = cosines(features.target, features.reference)
    grid = features.grid
    found = fit_affine(cosine, grid, outlines).affine
    if not bool(torch.isfinite(found.linear).all()):
        raise NonFiniteError("the correspondence is not finite")
    share = 1.0 / extent(grid, cosine)
    return found.rescaled(share, share)


def _with_reference_moved(descriptors: Descriptors, onto: AffineMap) -> Descriptors:
    """The reference's features where its figure is moved onto the target's."""
    target, reference = descriptors.features
    plane = crop(onto, reference.T.unflatten(1, descriptors.grid), descriptors.grid, beyond="border")
    return replace(descriptors, features=torch.stack([target, plane.flatten(1).T]))


def matching_layers(models: Models, params: MatchingParams) -> list[str]:
    """Full names of the layers whose inputs one map for all layers is made of. Raises UnknownLayerError."""
    return select_layers(models.unet, params.layers or models.backbone.match_layers)


def part_penalty(
    models: Models, target: Picture, reference: Picture, params: MatchingParams, grid: tuple[int, int]
) -> Float[Tensor, "tokens tokens"] | None:
    """What matches between differently named parts lose, as cosines, on `grid`; None where no parts are named. Raises
    ModelMissingError."""
    if not params.parts or params.part_weight == 0.0:
        return None
    finder = models.part_finder
    if finder is None:
        raise ModelMissingError("part_finder")
    here, there = (finder.shares(picture, params.parts, grid) for picture in (target, reference))
    return params.part_weight * disagreement(here, there)


def region_landmarks(scene: Scene, region: EncodedRegion, params: MatchingParams) -> CanvasLandmarks | None:
    """The landmarks whose target place lies in the region; None without any."""
    if not params.landmarks:
        return None
    placed = place_landmarks(params.landmarks, params.landmark_radius, scene.target, region.reference)
    mask = region.target_mask
    within = mask.flatten()[token_at(placed.targets, (mask.shape[0], mask.shape[1]))] >= 0.5
    within &= ((placed.targets >= 0.0) & (placed.targets <= 1.0)).all(-1)
    if not bool(within.any()):
        return None
    return CanvasLandmarks(placed.targets[within], placed.references[within], placed.radius)


def custom_correspondence(
    places: Sequence[Sequence[Place]], target: Canvas, region: EncodedRegion, grid: tuple[int, int]
) -> Correspondence:
    """The caller's own map, rows of places in the reference picture over the whole target, on the tokens of `grid` over
    the target's canvas: between the cells' middles, the affine map around the nearest one that lies in the region."""
    device = region.target_mask.device
    cells = torch.tensor(places, device=device)
    rows, columns = cells.shape[:2]
    here, there = (torch.tensor(canvas.box, device=device) for canvas in (target, region.reference))
    middles = token_places((rows, columns), cells)
    counts = extent((rows, columns), cells)
    on_canvas = here[:2] + middles / counts * here[2:]
    mask = region.target_mask
    inside = mask.flatten()[token_at(on_canvas, (mask.shape[0], mask.shape[1]))] >= 0.5
    inside &= ((on_canvas >= 0.0) & (on_canvas < 1.0)).all(-1)
    inside = inside if bool(inside.any()) else torch.ones_like(inside)
    known = cells.flatten(0, 1)
    slopes = torch.diag(1.0 / counts).expand(len(known), 2, 2)  # of one row or column, nothing else can be told
    if min(rows, columns) > 1:
        slopes = fit_locally(known, (rows, columns), inside, None, sigma=1.0)[1]
    seen = (token_places(grid, known) / extent(grid, known) - here[:2]) / here[2:] * counts
    apart = torch.cdist(seen, middles).masked_fill(~inside, torch.inf)
    nearest = apart.argmin(dim=1)
    away = seen - middles[nearest]
    place = known[nearest] + torch.einsum("pij,pj->pi", slopes[nearest], away)
    shares = there[:2] + place * there[2:]
    tokens = extent(grid, shares)
    step = counts / here[2:] / tokens
    local = slopes[nearest] * step * (there[2:] * tokens)[:, None]
    refined = LocalAffine(grid, shares * tokens, local)
    return Correspondence(grid, token_at(shares, grid), torch.ones_like(shares[:, 0]), refined=refined)
