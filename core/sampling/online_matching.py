"""Maps that are made anew while sampling, from what the network sees of the noisy pictures."""

from collections.abc import Sequence

import torch

from core.injection.injection import FeatureInjection, Seen, injection_rows
from core.masks.regions import Canvases
from core.matching.one_shot import matched, part_penalty, region_pins, rigidity_of, shared_layers
from core.models.features import Descriptors
from core.models.models import Models
from core.params.transfer import TransferParams
from core.types import LatentPair


class StepMatches:
    """A `core.injection.injection.Watcher` that, whenever the network has seen the references, gives every region of
    every
    trajectory a new map."""

    def __init__(self, models: Models, canvases: Canvases, pairs: Sequence[LatentPair], params: TransferParams) -> None:
        self.layers = shared_layers(models, params)
        self._pairs = pairs
        self._guide = canvases.target.picture
        self._params = params
        self._rigidity = [rigidity_of(region, params) for region in canvases.regions]
        self._pins = [region_pins(canvases, region, params) for region in canvases.regions]
        self._penalties = [
            part_penalty(models, canvases.target.picture, region.reference.picture, params)
            for region in canvases.regions
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
                    descriptors,
                    self._pairs[place],
                    self._guide,
                    self._params,
                    self._rigidity[place],
                    self._pins[place],
                    self._penalties[place],
                )
