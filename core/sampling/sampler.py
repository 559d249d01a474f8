"""The verb `sample`: from the latents of both pictures and their correspondence to clean latents of results.

What is done at every step: the knobs that are ranges and rhythms, on the steps that are sampled.
"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import torch
from torch import Tensor

from core.images.canvas import continue_beyond
from core.images.shading import keep_shading
from core.injection.injection import FeatureInjection, InjectedRegion, Injection, Watcher, watched
from core.injection.modes import injecting
from core.masks.regions import Canvases
from core.matching.correspondence import TokenMap
from core.matching.one_shot import layer_matcher
from core.matching.warp import rearrange_picture
from core.models.models import Models
from core.models.noise import REPLAYED, Step, make_steps, mix_noise
from core.models.unet import FreeU, NoisePredictor, falling_guidance, freeu, recorded, select_layers
from core.models.vae import encode_closely
from core.params.transfer import TransferParams
from core.sampling.online_matching import StepMatches
from core.sampling.trajectory import PlannedStep, Trajectory, denoise
from core.types import LatentPair


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


def plan_steps(steps: Sequence[Step], params: TransferParams, *, inject: bool) -> list[PlannedStep]:
    """What is done at every step. Structure re-injection falls on the first injected step and every n-th after it."""
    plan: list[PlannedStep] = []
    injected = matched = 0
    anchored = params.reanchor_level == 0.0
    for done, step in enumerate(steps):
        injection, guidance, rematch = Injection.NONE, 1.0, False
        if inject and step.inside(params.injection_range):
            every = params.reinjection_every
            again = every > 0 and injected % every == 0 and step.inside(params.reinjection_range)
            injection = Injection.STRUCTURE if again else Injection.MATCHED
            guidance = falling_guidance(params.injection_guidance, done, len(steps))
            injected += 1
            if not again:
                rematch = matched % params.match_every == 0
                matched += 1
        strength = params.clean_latent_strength if step.inside(params.clean_latent_range) else 0.0
        reanchor = not anchored and step.inside((params.reanchor_level, 0.0))
        anchored = anchored or reanchor
        mixed = step.inside(params.noise_range)
        plan.append(
            PlannedStep(
                step,
                injection,
                strength,
                step.inside(params.adain_range),
                reanchor=reanchor,
                injection_guidance=guidance,
                noise_mix=mix_noise(params.noise_mode, params.structure_strength) if mixed else REPLAYED,
                rematch=rematch,
            )
        )
    return plan
