"""The verb `sample`: from the latents of both pictures and their correspondence to clean latents of results."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import torch
from torch import Tensor

from core.denoise import LatentPair, Trajectory, denoise
from core.fill import continue_beyond
from core.freeu import FreeU, freeu
from core.guidance import NoisePredictor
from core.latents import encode_closely
from core.matching import layer_matcher
from core.models import Models
from core.modes import injecting
from core.params import TransferParams
from core.patch import recorded, select_layers
from core.plan import plan_steps
from core.rearrange import FeatureInjection, InjectedRegion, rearrange_picture
from core.regions import Canvases
from core.rematch import StepMatches
from core.schedule import make_steps
from core.shading import keep_shading
from core.token_map import TokenMap
from core.watch import Watcher, watched


@dataclass(frozen=True)
class Start:
    """Where one result begins."""

    seed: int
    token_maps: Sequence[TokenMap] | None
    """One per region for all steps, or None where maps are made while sampling."""


@dataclass(frozen=True)
class Sampled:
    latent: Tensor
    token_maps: list[TokenMap | None]
    """One per region: those given, or the last that were made; None where nothing was matched."""

    @property
    def matched(self) -> list[TokenMap] | None:
        """The maps, where all regions were matched."""
        found = [token_map for token_map in self.token_maps if token_map is not None]
        return found if len(found) == len(self.token_maps) else None


def sample(
    models: Models,
    canvases: Canvases,
    pairs: Sequence[LatentPair],
    predict: NoisePredictor,
    starts: Sequence[Start],
    params: TransferParams,
    after_step: Callable[[int, int, Tensor], None] = lambda done, steps, clean: None,
    watchers: Sequence[Watcher] = (),
) -> list[Sampled]:
    """All results in one batch. `after_step(done, steps, predicted_clean)` may raise to stop the run."""
    chosen = models.backbone.injection_layers if params.injection_layers is None else params.injection_layers
    layers = select_layers(models.unet, chosen)
    steps = make_steps(
        models.alphas_cumprod, num_steps=params.num_steps, strength=params.strength, spacing=params.step_spacing
    )
    if params.match_source == "step":
        watchers = [StepMatches(models, canvases, pairs, params), *watchers]
    plan = plan_steps(steps, params, inject=bool(layers or watchers))
    rearranged = Rearranged(models, canvases, pairs, params.shading_strength)
    trajectories = [
        Trajectory(
            pairs,
            FeatureInjection(_injected(pairs, start, params), match=layer_matcher(params)),
            rearranged.by(start),
            first=plan[0],
            eta=params.eta,
            prediction_type=models.prediction_type,
            seed=start.seed,
        )
        for start in starts
    ]
    injections = [trajectory.injection for trajectory in trajectories]
    factors = FreeU(params.freeu_b1, params.freeu_b2, params.freeu_s1, params.freeu_s2)
    with ExitStack() as stack:
        stack.enter_context(freeu(models.unet, factors))
        stack.enter_context(
            injecting(models.unet, layers, injections, params.injection_mode, params.attention_contrast)
        )
        for watcher in watchers:  # entered last: they see what layers are given, not what is injected
            seen = stack.enter_context(recorded(models.unet, watcher.layers))
            predict = watched(predict, watcher, injections, seen)
        latents = denoise(
            predict, trajectories, plan, after_step=lambda done, clean: after_step(done, len(plan), clean)
        )
    return [Sampled(latent, one.last_maps) for latent, one in zip(latents, injections, strict=True)]


def _injected(pairs: Sequence[LatentPair], start: Start, params: TransferParams) -> list[InjectedRegion]:
    maps: Sequence[TokenMap | None] = start.token_maps or [None] * len(pairs)
    return [
        InjectedRegion(pair.target_mask, pair.reference_mask, found, pair.strength * params.injection_strength)
        for pair, found in zip(pairs, maps, strict=True)
    ]


class Rearranged:
    """References rearranged by maps, as clean latents."""

    def __init__(
        self, models: Models, canvases: Canvases, pairs: Sequence[LatentPair], shading_strength: float
    ) -> None:
        self._models = models
        self._canvases = canvases
        self._pairs = pairs
        self._shading_strength = shading_strength

    def by(self, start: Start) -> Callable[[int, TokenMap], Tensor]:
        """A region's reference rearranged by a map. One that serves all steps moves the picture; one of a single step
        moves the latent, which is cheap."""

        def rearrange(region: int, matches: TokenMap) -> Tensor:
            pair = self._pairs[region]
            if start.token_maps is None:
                return rearrange_picture(pair.reference[0], matches, pair.target_mask)[None]
            target, placed = self._canvases.target, self._canvases.regions[region]
            mask = placed.target_mask
            source = continue_beyond(placed.reference.picture, placed.reference.mask)
            moved = rearrange_picture(source, matches, mask, guide=target.picture)
            moved = keep_shading(moved, target.picture, mask, strength=self._shading_strength)
            # Encoded amid the target's surroundings: a latent depends on what lies around it.
            picture = torch.lerp(target.picture, moved, mask)
            return encode_closely(self._models.vae, picture, pair.reference.dtype)

        return rearrange
