"""The stage `sample`: from a scene and its correspondences to clean latents, one call of the UNet per step.

A *row* is one latent in the batch of that call. Every seed has an output row, which becomes the result, a structure
row, which is the noised target, and, at steps that inject matched features, a reference row for each region. Guidance
doubles all of them.
"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from core.injection import FeatureInjection, Injected, InjectionStep, Maps, Observer, injecting
from core.matching.correspondence import Correspondence
from core.models.noise import REPLAYED, Step, make_steps, mix_noise
from core.models.unet import BatchLayout, SeedRows, falling_guidance, freeu, recorded, select_layers
from core.params.transfer import InjectionParams, TransferParams
from core.sampling.online_matching import OnlineMatching
from core.sampling.trajectory import PlannedStep, Trajectory, warp_latent
from core.scene import Scene
from core.types import EncodedRegion, Latent


@dataclass(frozen=True)
class Start:
    """What one result is sampled from, beside the scene that all share."""

    seed: int
    """Of all noise draws of this result."""
    maps: Sequence[Correspondence] | None
    """One per region for all steps, or None where correspondences are made while sampling."""
    proposed: Latent | None = None
    """The warped reference as a clean latent, where it is known before."""

    def warp(self, region: EncodedRegion, found: Correspondence) -> Latent:
        """The clean latent to which the prediction is drawn."""
        return warp_latent(region, found) if self.proposed is None else self.proposed


@dataclass(frozen=True)
class Sampled:
    """One result before it is decoded."""

    latent: Tensor
    """Clean, `[1, latent_channels, latent_height, latent_width]`."""
    maps: Maps
    """One per region: those given, or the last that were made; None where nothing was matched."""

    @property
    def matched(self) -> list[Correspondence] | None:
        """The correspondences, one per region; None where a region has none, because maps are made while sampling and
        no step made one."""
        found = [one for one in self.maps if one is not None]
        return found if len(found) == len(self.maps) else None


def sample(
    scene: Scene,
    starts: Sequence[Start],
    params: TransferParams,
    after_step: Callable[[int, int, Tensor], None] = lambda done, steps, clean: None,
    observers: Sequence[Observer] = (),
) -> list[Sampled]:
    """All results in one batch. `after_step(done, steps, predicted_clean)` is called after every step with the first
    one's prediction, and may raise to stop the run. Raises UnknownLayerError."""
    models, matching = scene.models, params.matching
    layers = injected_layers(scene, params)
    if matching.source == "per_step":
        observers = [OnlineMatching(scene, matching), *observers]
    steps = make_steps(
        models.alphas_cumprod,
        num_inference_steps=params.num_inference_steps,
        strength=params.strength,
        spacing=params.timestep_spacing,
    )
    plan = plan_steps(steps, params, inject=bool(layers or observers))
    per_layer = matching if matching.source == "per_layer" else None
    injection = FeatureInjection(scene.regions, scene.latent_size, params.injection.scale, per_layer)
    unet = InjectedUnet(scene, layers, injection, params.injection, observers)
    trajectories = [Trajectory(scene, start.warp, first=plan[0], eta=params.eta, seed=start.seed) for start in starts]
    empty: Maps = (None,) * len(scene.regions)
    shared: list[Maps] = [empty if start.maps is None else tuple(start.maps) for start in starts]
    latest = list(shared)
    dead = 0 if observers else dead_steps(plan, shared, scene)
    if dead:
        for trajectory, maps in zip(trajectories, shared, strict=True):
            trajectory.start_from_warp(plan[:dead], maps)
        plan = plan[dead:]
    with freeu(models.unet, params.freeu):
        for done, planned in enumerate(plan, start=1):
            call = unet.predict(planned, [trajectory.rows(planned) for trajectory in trajectories], shared)
            shared = call.shared
            latest = [newest(*maps) for maps in zip(shared, call.found, latest, strict=True)]
            advanced = zip(trajectories, call.predicted, latest, strict=True)
            clean = [trajectory.advance(planned, rows, maps) for trajectory, rows, maps in advanced]
            after_step(done, len(plan), clean[0])
    return [Sampled(trajectory.output, maps) for trajectory, maps in zip(trajectories, latest, strict=True)]


def newest(shared: Maps, found: Maps, before: Maps) -> Maps:
    """For every region the correspondence that serves all layers, else the one made in this call, else the last."""
    return tuple(one or two or three for one, two, three in zip(shared, found, before, strict=True))


def injected_layers(scene: Scene, params: TransferParams) -> list[str]:
    """Full names of the layers that inject. Raises UnknownLayerError."""
    asked = params.injection.layers
    return select_layers(scene.models.unet, scene.models.backbone.injection_layers if asked is None else asked)


def dead_steps(plan: Sequence[PlannedStep], maps: Sequence[Maps], scene: Scene) -> int:
    """How many of the first steps have no effect on the result, and need not be computed.

    Where the warped references replace the predicted clean latent wholly, at every step down to the one that re-anchors
    the structure row, nothing of the UNet's predictions before is left (docs/method.md, section 0). 0 where one of them
    counts: a match that is not trusted wholly, a region of a lower scale, a map made while sampling.
    """
    whole = all(found is not None and found.confidence is None for of_seed in maps for found in of_seed)
    if not whole or any(region.scale < 1.0 for region in scene.regions):
        return 0
    for number, planned in enumerate(plan, start=1):
        if planned.warp_strength < 1.0:
            return 0
        if planned.reanchor:
            return 0 if planned.adain else number
    return 0


@dataclass(frozen=True)
class Prediction:
    """What one step's call of the UNet returned."""

    predicted: list[SeedRows]
    """By seed."""
    shared: list[Maps]
    """By seed, the correspondences that serve all layers from here on."""
    found: list[Maps]
    """By seed, those that layers made for themselves."""


@dataclass(frozen=True)
class InjectedUnet:
    """The UNet of a run, with features injected and layers observed."""

    scene: Scene
    layers: Sequence[str]
    injection: FeatureInjection
    params: InjectionParams
    observers: Sequence[Observer]

    def predict(self, planned: PlannedStep, noisy: Sequence[SeedRows], shared: list[Maps]) -> Prediction:
        """The prediction for all rows of a step, in one call of the UNet, or two with swap guidance."""
        matched = planned.injected is Injected.MATCHED
        unet, timestep = self.scene.models.unet, planned.step.timestep
        layout = BatchLayout(len(noisy), len(self.scene.regions) if matched else 0)
        step = InjectionStep(planned.injected, layout, tuple(shared))
        observers = self.observers if matched else ()
        with ExitStack() as stack:
            found = stack.enter_context(injecting(unet, self.layers, self.injection, step, self.params))
            # Entered last: what is recorded are the inputs of layers before injection.
            seen = [stack.enter_context(recorded(unet, observer.layers)) for observer in observers]
            predicted = layout.split(self.scene.predict(layout.join(noisy), timestep))
        for observer, inputs in zip(observers, seen, strict=True):
            shared = list(observer.observe(step, inputs, timestep) or shared)
        if planned.swap_guidance_scale != 1.0:
            predicted = self._swap_guided(planned, noisy, predicted)
        numbers = range(len(self.scene.regions))
        by_seed = [tuple(found.get((seed, number)) for number in numbers) for seed in range(len(noisy))]
        return Prediction(predicted, shared, by_seed)

    def _swap_guided(
        self, planned: PlannedStep, noisy: Sequence[SeedRows], predicted: Sequence[SeedRows]
    ) -> list[SeedRows]:
        """Every output's prediction drawn away from the one without injection (Cross-Image Attention, arXiv 2311.03335,
        section 4.3)."""
        outputs = torch.cat([rows.output for rows in noisy])
        without = self.scene.predict(outputs, planned.step.timestep).split(1)
        scale = planned.swap_guidance_scale
        return [
            replace(rows, output=plain + scale * (rows.output - plain))
            for rows, plain in zip(predicted, without, strict=True)
        ]


def plan_steps(steps: Sequence[Step], params: TransferParams, *, inject: bool) -> list[PlannedStep]:
    """What is done at every step: the ranges and rhythms of the parameters, on the steps that are sampled. Structure
    re-injection falls on the first injected step and every n-th after it."""
    injection, latent, noise = params.injection, params.latent, params.noise
    plan: list[PlannedStep] = []
    injections = 0
    anchored = latent.reanchor_level == 0.0
    for done, step in enumerate(steps):
        injected, guidance = Injected.NOTHING, 1.0
        if inject and step.inside(injection.range):
            every = injection.structure_every
            again = every > 0 and injections % every == 0 and step.inside(injection.structure_range)
            injected = Injected.STRUCTURE if again else Injected.MATCHED
            guidance = falling_guidance(injection.swap_guidance_scale, done, len(steps))
            injections += 1
        reanchor = not anchored and step.inside((latent.reanchor_level, 0.0))
        anchored = anchored or reanchor
        mixed = step.inside(noise.range)
        plan.append(
            PlannedStep(
                step,
                injected,
                latent.warp_strength if step.inside(latent.warp_range) else 0.0,
                step.inside(latent.adain_range),
                reanchor=reanchor,
                swap_guidance_scale=guidance,
                noise_mix=mix_noise(noise.mode, noise.noise_map_scale) if mixed else REPLAYED,
            )
        )
    return plan
