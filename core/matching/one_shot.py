"""The verb `correspond`: from what is asked for to one map for every region.

A map is made once, of both clean pictures, or while sampling: by every layer for itself (the paper), or for all layers
together from what the network saw at the step before.

One correspondence for the whole run, from one look at both clean pictures; and its description for people.

DIFT (Tang et al., arXiv 2306.03881): noise both pictures a little, read the UNet's features, average over draws. We
read the inputs of self-attention layers, where SDXL's semantics are best, instead of block outputs. A separate vision
model can speak instead, or beside it (arXiv 2305.15347).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from core.errors import ModelMissingError, NonFiniteError
from core.images.canvas import Canvas, working_size
from core.images.geometry import AffineMap, extent, shrink_mask, token_at, token_mask
from core.injection.injection import Matcher, match_plainly
from core.masks.regions import Canvases, CanvasRegion, inside
from core.matching.confidence import PLAIN, MatchRule
from core.matching.correspondence import LocalMaps, TokenMap, hold_pins
from core.matching.global_affine import fit_affine
from core.matching.landmarks import CanvasPins, place_pins
from core.matching.local_affine import fit_locally, token_colours
from core.matching.solver import combine_features, cosines, match_consistently
from core.matching.windows import AS_IT_IS, frame_around, look_through, mirrored, on_canvas
from core.models.features import Descriptors, read_unet, read_vision
from core.models.models import Models
from core.models.part_classifier import disagreement
from core.models.unet import NoisePredictor, select_layers
from core.models.vae import encode_picture
from core.params.selection import Place
from core.params.transfer import TransferParams
from core.types import Latent, LatentPair, Mask, Picture

Penalty = Callable[[tuple[int, int]], Tensor]
"""What every match loses, for any grid."""


def correspond(
    models: Models,
    canvases: Canvases,
    pairs: Sequence[LatentPair],
    predict: NoisePredictor,
    params: TransferParams,
    seed: int,
) -> list[TokenMap] | None:
    """One map per region for all steps, or None where maps are made while sampling."""
    if params.match_source in ("layer", "step"):
        return None
    return look_once(models, canvases, pairs, predict, params, seed)


def look_once(
    models: Models,
    canvases: Canvases,
    pairs: Sequence[LatentPair],
    predict: NoisePredictor,
    params: TransferParams,
    seed: int,
) -> list[TokenMap]:
    """One map per region from the clean pictures, also where the maps that count are made while sampling."""
    if params.match_source == "given":
        grid = models.finest_grid((pairs[0].target.shape[2], pairs[0].target.shape[3]))
        return [given_map(params.match_map, region.reference, grid, models.device) for region in canvases.regions]
    looks = [
        Look(models, canvases.target, region, pair, predict, params, seed, region_pins(canvases, region, params))
        for region, pair in zip(canvases.regions, pairs, strict=True)
    ]
    return [look.best() for look in looks]


@dataclass(frozen=True)
class Shown:
    """One picture as the networks are shown it, and where it takes part."""

    picture: Picture
    mask: Mask
    latent: Latent


@dataclass(frozen=True)
class Look:
    """One region of the target and its reference: what is seen of them, and how they match.

    Where masks set figures apart, both fill a window (`core.matching.windows`), and a second look sees the reference
    moved onto
    the target by the figure's affine map."""

    models: Models
    target: Canvas
    region: CanvasRegion
    pair: LatentPair
    predict: NoisePredictor
    params: TransferParams
    seed: int
    pins: CanvasPins | None

    def best(self) -> TokenMap:
        """Networks tell left from right badly: on demand the reference is tried as its mirror image too, and the map
        whose matches are more alike is kept."""
        here = there = AS_IT_IS
        if self.params.match_framing and self.region.set_apart:
            here, there = frame_around(self.region.target_mask), frame_around(self.region.reference.mask)
        found = [self._through(here, there)]
        if self.params.match_mirrored:
            found.append(self._through(here, mirrored(there)))
        within = token_mask(self.pair.target_mask, found[0].grid)
        return max(found, key=lambda token_map: float(token_map.similarity[within].mean()))

    def _through(self, here: AffineMap, there: AffineMap) -> TokenMap:
        """The map between the canvases, found in two windows onto them."""
        target = self._show(Shown(self.target.picture, self.region.target_mask, self.pair.target), here, here)
        other = Shown(self.region.reference.picture, self.region.reference.mask, self.pair.reference)
        reference = self._show(other, there, here)
        descriptors = self._describe([target, reference])
        if self.params.match_looks > 1 and self.region.set_apart:
            onto = figure_map(descriptors, latent_pair(target, reference))
            there = there.after(onto.to(there.linear))
            reference = self._show(other, there, here)
            moved = [seen_moved(one, onto) for one in descriptors]
            again = self._describe([reference])  # the target looks as before
            descriptors = moved + [first.beside(of) for first, of in zip(descriptors, again, strict=True)]
        framed = not (here is there is AS_IT_IS)
        own = (self.target.picture.shape[1], self.target.picture.shape[2])
        pins = self.pins.through(here, there, own) if framed and self.pins is not None else self.pins
        penalty = part_penalty(self.models, target.picture, reference.picture, self.params)
        pair, rigidity = latent_pair(target, reference), rigidity_of(self.region, self.params)
        found = matched(descriptors, pair, target.picture, self.params, rigidity, pins, penalty)
        if not framed:
            return found
        factor = target.latent.shape[2] // found.grid[0]
        grid = (self.pair.target.shape[2] // factor, self.pair.target.shape[3] // factor)
        found = on_canvas(found, here, there, grid, token_mask(self.pair.reference_mask, grid))
        return found if self.pins is None else hold_pins(found, self.pins)

    def _show(self, whole: Shown, frame: AffineMap, target_frame: AffineMap) -> Shown:
        """A picture through a window. Both pictures are of one size: the canvas's own, or where the target is seen
        through a window, that which features are best at."""
        if frame is AS_IT_IS and target_frame is AS_IT_IS:
            return whole
        models, size = self.models, (whole.picture.shape[1], whole.picture.shape[2])
        if target_frame is not AS_IT_IS:
            best = min(models.native_resolution, self.params.resolution or models.native_resolution)
            size = working_size(1, 1, resolution=best, multiple=models.size_multiple)
        picture = look_through(frame, whole.picture, size, beyond="border")
        mask = look_through(frame, whole.mask[None], size, beyond="zeros")[0]
        return Shown(picture, mask, encode_picture(models.vae, picture, whole.latent.dtype))

    def _describe(self, shown: list[Shown]) -> list[Descriptors]:
        models, params = self.models, self.params
        latents = torch.cat([one.latent for one in shown])
        source = params.match_source
        if source in ("auto", "layer", "step"):
            source = "one_shot" if models.correspondence is None else "fused"
        descriptors: list[Descriptors] = []
        if source != "vision":
            layers = shared_layers(models, params)
            level, draws = params.match_noise_level, params.match_draws
            descriptors += read_unet(
                models, self.predict, latents, layers, noise_level=level, draws=draws, seed=self.seed
            )
        if source in ("vision", "fused"):
            grid = models.finest_grid((latents.shape[2], latents.shape[3]))
            descriptors.append(read_vision(models, torch.stack([one.picture for one in shown]), grid))
        return descriptors


def latent_pair(target: Shown, reference: Shown) -> LatentPair:
    """Both pictures in the sampler's terms."""
    size, dtype = (target.latent.shape[2], target.latent.shape[3]), target.latent.dtype
    here, there = (shrink_mask(one.mask.to(dtype), size) for one in (target, reference))
    return LatentPair(target.latent, reference.latent, here, there)


def seen_moved(descriptors: Descriptors, onto: AffineMap) -> Descriptors:
    """The reference's features where its figure is moved onto the target's."""
    target, reference = descriptors.features
    plane = look_through(onto, reference.T.unflatten(1, descriptors.grid), descriptors.grid, beyond="border")
    return replace(descriptors, features=torch.stack([target, plane.flatten(1).T]))


def matched(
    descriptors: list[Descriptors],
    pair: LatentPair,
    guide: Tensor,
    params: TransferParams,
    rigidity: float,
    pins: CanvasPins | None,
    penalty: Penalty | None,
) -> TokenMap:
    """`match_pictures` with the knobs of `params`."""
    return match_pictures(
        descriptors,
        pair,
        smoothness=params.match_smoothness,
        rigidity=rigidity,
        pins=pins,
        penalty=penalty,
        rule=match_rule(params),
        refinement=params.match_refinement,
        pieces=params.match_pieces,
        guide=guide,
    )


def rigidity_of(region: CanvasRegion, params: TransferParams) -> float:
    """Say of the affine map of a region's figure; none where no mask sets one apart."""
    return params.match_rigidity if region.set_apart else 0.0


def shared_layers(models: Models, params: TransferParams) -> list[str]:
    """Layers whose inputs one map for all layers is made of."""
    chosen = models.backbone.match_layers if params.match_layers is None else params.match_layers
    return select_layers(models.unet, chosen)


def match_rule(params: TransferParams) -> MatchRule:
    asked = params.match_confidence
    return MatchRule(
        mutual=asked in ("mutual", "both"),
        ratio=asked in ("ratio", "both"),
        borrow=params.unmatched == "nearest",
        ranks=params.match_top_k,
    )


def layer_matcher(params: TransferParams) -> Matcher | None:
    """How a layer matches for itself; None where it has to wait for a map."""
    if params.match_source != "layer":
        return None
    rule = match_rule(params)
    if rule == PLAIN:
        return match_plainly

    def match(output: Tensor, reference: Tensor, grid: tuple[int, int], here: Tensor, there: Tensor) -> TokenMap:
        return match_consistently(output, reference, grid, here, there, smoothness=0.0, rule=rule)

    return match


def part_penalty(models: Models, target: Picture, reference: Picture, params: TransferParams) -> Penalty | None:
    """What matches between differently named parts lose, for any grid. Raises ModelMissingError."""
    if not params.part_names or params.part_weight == 0.0:
        return None
    finder = models.part_finder
    if finder is None:
        raise ModelMissingError("part_finder")

    def penalty(grid: tuple[int, int]) -> Tensor:
        here, there = (finder.shares(picture, params.part_names, grid) for picture in (target, reference))
        return params.part_weight * disagreement(here, there)

    return penalty


def given_map(
    places: Sequence[Sequence[Place]], reference: Canvas, grid: tuple[int, int], device: torch.device
) -> TokenMap:
    """The caller's own map, rows of places in the reference picture, on the tokens of `grid`; tokens within one cell
    keep their places relative to each other."""
    cells = torch.tensor(places, device=device)
    rows, columns = cells.shape[:2]
    y = (torch.arange(grid[0], device=device) + 0.5) / grid[0]
    x = (torch.arange(grid[1], device=device) + 0.5) / grid[1]
    row, column = (y * rows).long(), (x * columns).long()
    left, top, width, height = reference.box
    place = cells[row[:, None], column[None, :]] * torch.tensor([width, height], device=device)
    place = place + torch.tensor([left, top], device=device)
    place[..., 0] += (x - (column + 0.5) / columns)[None, :]
    place[..., 1] += (y - (row + 0.5) / rows)[:, None]
    shares = place.flatten(0, 1)
    tokens = shares * extent(grid, shares)
    everywhere = torch.ones(len(shares), dtype=torch.bool, device=device)
    slopes = fit_locally(tokens, grid, everywhere, None, reach=1.0)[1]
    refined = LocalMaps(grid, tokens, slopes)
    return TokenMap(grid, token_at(shares, grid), torch.ones_like(shares[:, 0]), refined=refined)


def region_pins(canvases: Canvases, region: CanvasRegion, params: TransferParams) -> CanvasPins | None:
    """The pins whose target place lies in the region; all of them where there is one."""
    device = region.target_mask.device
    pins = params.pins
    if len(canvases.regions) > 1 and pins:
        within = inside(region.target_mask, torch.tensor([pin.target for pin in pins], device=device))
        pins = tuple(pin for pin, here in zip(pins, within.tolist(), strict=True) if here)
    return place_pins(pins, params.pin_radius, region.reference.box, device)


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
