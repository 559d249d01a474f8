"""Online matching (source `per_step`): correspondences made anew while sampling, from what the UNet gets of the noisy
pictures."""

from collections.abc import Sequence

import torch

from core.images.geometry import token_grid, token_mask
from core.injection import InjectionStep, Maps, Seen
from core.matching.correspondence import Correspondence
from core.matching.local_affine import token_colours
from core.matching.one_shot import combine_descriptors, matching_layers, part_penalty, region_landmarks
from core.matching.solver import Constraints, TokenMasks, solve
from core.models.features import Descriptors
from core.models.unet import SeedRows
from core.params.transfer import MatchingParams
from core.scene import Scene


class OnlineMatching:
    """A `core.injection.Observer` that gives every region of every seed a new correspondence."""

    def __init__(self, scene: Scene, params: MatchingParams) -> None:
        """Raises UnknownLayerError."""
        self.layers = matching_layers(scene.models, params)
        self._scene = scene
        self._params = params

    def observe(self, step: InjectionStep, seen: Seen, timestep: int) -> Sequence[Maps]:
        by_layer = [step.layout.split(features) for features in seen.values()]
        return [
            tuple(self._match(region, rows) for region in range(len(self._scene.regions)))
            for rows in zip(*by_layer, strict=True)
        ]

    def _match(self, number: int, layers: Sequence[SeedRows]) -> Correspondence:
        """The correspondence of one region by one seed's rows in all layers, of the conditional half."""
        scene, params, region = self._scene, self._params, self._scene.regions[number]
        masks = (region.target_latent_mask, region.reference_latent_mask)
        descriptors = []
        for rows in layers:
            pair = torch.stack([rows.output[-1], rows.references[number][-1]]).to(scene.target_latent.dtype)
            descriptors.append(Descriptors(pair, token_grid(scene.latent_size, pair.shape[1])))
        features = combine_descriptors(descriptors, *masks)
        picture = scene.target.picture
        constraints = Constraints(
            region.outlines,
            region_landmarks(scene, region, params),
            part_penalty(scene.models, picture, region.reference.picture, params, features.grid),
            token_colours(picture, features.grid),
        )
        return solve(features, TokenMasks(*(token_mask(mask, features.grid) for mask in masks)), params, constraints)
