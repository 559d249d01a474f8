"""The verb `correspond`: from what is asked for to one map for every region.

A map is made once, of both clean pictures, or while sampling: by every layer for itself (the paper), or for all layers
together from what the network saw at the step before.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from core.canvas import Canvas
from core.correspond import Descriptors, match_pictures, read_unet, read_vision
from core.denoise import LatentPair
from core.errors import ModelMissingError
from core.grid import token_at
from core.guidance import NoisePredictor
from core.latents import encode_picture
from core.match import TokenMap, match_consistently, token_mask
from core.models import Models
from core.params import TransferParams
from core.parts import disagreement
from core.patch import select_layers
from core.pins import CanvasPins, place_pins
from core.rearrange import FeatureInjection, Matcher, match_plainly
from core.regions import Canvases, CanvasRegion, inside
from core.selection import Place
from core.trust import PLAIN, MatchRule
from core.watch import Seen, injection_rows

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
        Look(models, canvases.target, region, pair, predict, params, seed, _region_pins(canvases, region, params))
        for region, pair in zip(canvases.regions, pairs, strict=True)
    ]
    return [look.best() for look in looks]


@dataclass(frozen=True)
class Look:
    """One look at the target and one region's reference."""

    models: Models
    target: Canvas
    region: CanvasRegion
    pair: LatentPair
    predict: NoisePredictor
    params: TransferParams
    seed: int
    pins: CanvasPins | None

    def best(self) -> TokenMap:
        """The network tells left from right badly: a reference that looks the other way is matched as its mirror image
        too, and the map whose matches are more alike is kept."""
        upright = self.match()
        if not self.params.match_mirrored:
            return upright
        mirrored = self.mirrored().match().mirrored()
        within = token_mask(self.pair.target_mask, upright.grid)
        return max(upright, mirrored, key=lambda token_map: float(token_map.similarity[within].mean()))

    def mirrored(self) -> "Look":
        seen = self.region.reference
        canvas = replace(seen, picture=seen.picture.flip(-1), mask=seen.mask.flip(-1))
        flipped = encode_picture(self.models.vae, canvas.picture, self.pair.reference.dtype)
        pair = replace(self.pair, reference=flipped, reference_mask=self.pair.reference_mask.flip(-1))
        pins = self.pins and self.pins.mirrored()
        return replace(self, region=replace(self.region, reference=canvas), pair=pair, pins=pins)

    def match(self) -> TokenMap:
        penalty = part_penalty(self.models, self.target, self.region.reference, self.params)
        return matched(self._descriptors(), self.pair, self.params, self.pins, penalty)

    def _descriptors(self) -> list[Descriptors]:
        models, params, pair = self.models, self.params, self.pair
        source = params.match_source
        if source in ("auto", "layer", "step"):
            source = "one_shot" if models.correspondence is None else "fused"
        descriptors: list[Descriptors] = []
        if source != "vision":
            layers = shared_layers(models, params)
            level, draws = params.match_noise_level, params.match_draws
            descriptors += read_unet(models, self.predict, pair, layers, noise_level=level, draws=draws, seed=self.seed)
        if source in ("vision", "fused"):
            grid = models.finest_grid((pair.target.shape[2], pair.target.shape[3]))
            descriptors += read_vision(models, self.target, self.region.reference, grid)
        return descriptors


def matched(
    descriptors: list[Descriptors],
    pair: LatentPair,
    params: TransferParams,
    pins: CanvasPins | None,
    penalty: Penalty | None,
) -> TokenMap:
    """`match_pictures` with the knobs of `params`."""
    return match_pictures(
        descriptors,
        pair,
        smoothness=params.match_smoothness,
        rigidity=params.match_rigidity,
        pins=pins,
        penalty=penalty,
        rule=match_rule(params),
    )


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


def part_penalty(models: Models, target: Canvas, reference: Canvas, params: TransferParams) -> Penalty | None:
    """What matches between differently named parts lose, for any grid. Raises ModelMissingError."""
    if not params.part_names or params.part_weight == 0.0:
        return None
    finder = models.part_finder
    if finder is None:
        raise ModelMissingError("part_finder")

    def penalty(grid: tuple[int, int]) -> Tensor:
        here, there = (finder.shares(canvas.picture, params.part_names, grid) for canvas in (target, reference))
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
    index = token_at(place, grid).flatten()
    return TokenMap(grid, index, torch.ones(len(index), device=device))


class StepMatches:
    """A `core.watch.Watcher` that, whenever the network has seen the references, gives every region of every
    trajectory a new map."""

    def __init__(self, models: Models, canvases: Canvases, pairs: Sequence[LatentPair], params: TransferParams) -> None:
        self.layers = shared_layers(models, params)
        self._pairs = pairs
        self._params = params
        self._pins = [_region_pins(canvases, region, params) for region in canvases.regions]
        self._penalties = [
            part_penalty(models, canvases.target, region.reference, params) for region in canvases.regions
        ]

    def saw(self, injections: Sequence[FeatureInjection], seen: Seen, timestep: int) -> None:
        if not injections[0].rematch:
            return
        dtype = self._pairs[0].target.dtype
        for number, injection in enumerate(injections):
            rows = {name: injection_rows(injections, number, features) for name, features in seen.items()}
            for place, region in enumerate(injection.regions):
                descriptors = [
                    Descriptors(torch.stack([own[0], own[1 + place]]).to(dtype), injection.grid(own))
                    for own in rows.values()
                ]
                region.token_map = matched(
                    descriptors, self._pairs[place], self._params, self._pins[place], self._penalties[place]
                )


def _region_pins(canvases: Canvases, region: CanvasRegion, params: TransferParams) -> CanvasPins | None:
    """The pins whose target place lies in the region; all of them where there is one."""
    device = region.target_mask.device
    pins = params.pins
    if len(canvases.regions) > 1 and pins:
        within = inside(region.target_mask, torch.tensor([pin.target for pin in pins], device=device))
        pins = tuple(pin for pin, here in zip(pins, within.tolist(), strict=True) if here)
    return place_pins(pins, params.pin_radius, region.reference.box, device)
