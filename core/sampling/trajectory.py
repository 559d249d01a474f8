"""The sampler: one loop, one call of the UNet per step.

Rows: `output` becomes the result; every `reference` is a noised appearance picture; `structure` is the noised target,
which nothing edits. The output takes the structure row's noise map,

    x_out[t-1] = mu(x_out[t]) + (x_structure[t-1] - mu(x_structure[t])),

which replays the target exactly where nothing is rearranged (edit-friendly DDPM inversion, arXiv 2304.06140, without
the separate inversion: `sigma_t z_t` of the two-stage form *is* the bracket). It holds because the structure row sees
the same prompt, guidance and sizes, is never edited, its draws are kept from one step to the next, and this arithmetic
runs in float32 at least. The bracket is kept at the last step too, where sigma is 0. A `noise_mix` may replay the
bracket in part, or put noise of the output's own in its place, at an equal level of noise.

Re-anchoring makes the prediction of one step the picture that the structure row shows from there on. Until then the
noise maps replay the target's edges in the target's colours, halos included; afterwards, in the new ones.

Several references are several rows, and several seeds several such groups of rows, in the same call of the UNet.

Matching the first two moments of latents inside masks.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from core.injection.injection import FeatureInjection, Injection
from core.matching.correspondence import TokenMap
from core.models.noise import REPLAYED, NoiseDraws, NoiseMix, Step, add_noise, predict_clean, step_mean, step_sigma
from core.models.unet import NoisePredictor
from core.types import Latent, LatentMask, LatentPair, Rows

Rearrange = Callable[[int, TokenMap], Latent]
"""A region's reference as a clean latent, rearranged by a map."""


@dataclass(frozen=True)
class PlannedStep:
    """One step and what is done in it."""

    step: Step
    injection: Injection
    clean_latent_strength: float
    adain: bool
    reanchor: bool = False
    """Whether the structure row becomes, from here on, the noised prediction of this step."""
    injection_guidance: float = 1.0
    noise_mix: NoiseMix = REPLAYED
    rematch: bool = True
    """Whether layers that match for themselves do so anew in this step, or use their last map again."""


class Trajectory:
    """All rows of one seed on their way from noise to picture."""

    def __init__(
        self,
        pairs: Sequence[LatentPair],
        injection: FeatureInjection,
        rearrange: Rearrange,
        *,
        first: PlannedStep,
        eta: float,
        prediction_type: str,
        seed: int,
    ) -> None:
        self.injection = injection
        self._pairs = pairs
        self._rearrange = rearrange
        self._eta = eta
        self._prediction_type = prediction_type
        self._target_draws, self._reference_draws, self._output_draws = (NoiseDraws(seed, row) for row in (0, 1, 3))
        target = pairs[0].target
        alpha_bar = first.step.alpha_bar
        structure_noise = self._target_draws.like(target)
        self._structure = add_noise(target, structure_noise, alpha_bar)
        self._references = self._noised_references(alpha_bar)
        started = starting_noise(structure_noise, first.noise_mix, self._output_draws)
        self._output = add_noise(target, started, alpha_bar)
        self._anchor = target
        self._mask = union([pair.target_mask for pair in pairs])
        self._rearranged: list[Latent] = [pair.reference for pair in pairs]
        self._rearranged_by: list[TokenMap | None] = [None] * len(pairs)

    @property
    def output(self) -> Latent:
        return self._output

    def rows(self, planned: PlannedStep) -> Rows:
        """What the network sees at a step: the references only where they are matched."""
        references = self._references if planned.injection is Injection.MATCHED else []
        return torch.cat([self._output, *references, self._structure])

    def advance(self, planned: PlannedStep, noisy: Rows, predicted: Rows) -> Latent:
        """Takes the step that the network's words for `noisy` mean; returns the output's predicted clean latent."""
        step, mix, target = planned.step, planned.noise_mix, self._pairs[0].target
        clean, noise = predict_clean(noisy, predicted, step.alpha_bar, self._prediction_type)
        clean_output, clean_structure = clean[:1], clean[-1:]
        if planned.clean_latent_strength:
            clean_output = self._moved(clean_output, clean_structure, planned.clean_latent_strength)
        mean_output = step_mean(clean_output, noise[:1], step, self._eta * mix.share)
        if planned.reanchor:
            self._anchor = torch.lerp(target, clean_output, self._mask)
        structure = add_noise(self._anchor, self._target_draws.like(target), step.alpha_bar_prev)
        self._references = self._noised_references(step.alpha_bar_prev)
        noise_map = structure - step_mean(clean_structure, noise[-1:], step, self._eta)
        output = add_step_noise(mean_output, noise_map, mix, step_sigma(step, self._eta), self._output_draws)
        if planned.reanchor:
            output = structure
        if planned.adain:
            for pair, reference in zip(self._pairs, self._references, strict=True):
                output = masked_adain(output, reference, pair.target_mask, pair.reference_mask, pair.strength)
        self._structure = structure
        self._output = torch.lerp(structure, output, self._mask)
        return clean_output

    def _noised_references(self, alpha_bar: float) -> list[Latent]:
        """All of one draw: they never meet, and a further one changes nothing for the others."""
        draw = self._reference_draws.like(self._pairs[0].reference)
        return [add_noise(pair.reference, draw, alpha_bar) for pair in self._pairs]

    def _moved(self, clean: Latent, clean_structure: Latent, strength: float) -> Latent:
        """The output's prediction drawn towards the rearranged references; each is asked for once per map."""
        moved = clean
        for region, (pair, token_map) in enumerate(zip(self._pairs, self.injection.last_maps, strict=True)):
            if token_map is None:
                continue
            if token_map is not self._rearranged_by[region]:
                self._rearranged_by[region] = token_map
                self._rearranged[region] = self._rearrange(region, token_map)
            goal = torch.lerp(clean_structure, self._rearranged[region], pair.strength)
            moved = move_towards(moved, goal, strength, believed(token_map, pair.target_mask))
        return moved


def union(masks: Sequence[LatentMask]) -> LatentMask:
    """Everything that any of the masks, which do not overlap, lets in."""
    total = masks[0]
    for mask in masks[1:]:
        total = total + mask
    return total.clamp(max=1.0)


def predict_injected(predict_noise: NoisePredictor, trajectories: Sequence[Trajectory], planned: PlannedStep) -> Rows:
    """What the network says of all rows; every output's, which is the first of its trajectory, drawn away from what
    it says uninjected."""
    noisy = torch.cat([trajectory.rows(planned) for trajectory in trajectories])
    _tell(trajectories, planned.injection, planned.rematch)
    predicted = predict_noise(noisy, planned.step.timestep)
    if planned.injection_guidance != 1.0:
        _tell(trajectories, Injection.NONE, False)
        every = len(noisy) // len(trajectories)
        without = predict_noise(noisy[::every], planned.step.timestep)
        predicted[::every] = without + planned.injection_guidance * (predicted[::every] - without)
    return predicted


def _tell(trajectories: Sequence[Trajectory], mode: Injection, rematch: bool) -> None:
    for trajectory in trajectories:
        trajectory.injection.mode = mode
        trajectory.injection.rematch = rematch


def add_step_noise(mean: Latent, noise_map: Latent, mix: NoiseMix, sigma: float, draws: NoiseDraws) -> Latent:
    """`mean` with the shares of `mix`: of a noise map, which has its own scale, and of fresh noise of `sigma`."""
    noisy = mean + mix.replayed * noise_map
    return noisy + mix.fresh * sigma * draws.like(noisy) if mix.fresh else noisy


def starting_noise(structure_noise: Latent, mix: NoiseMix, draws: NoiseDraws) -> Latent:
    """The output's first noise: the structure row's, or as much of it as the first step replays."""
    if not mix.fresh:
        return structure_noise
    return add_step_noise(torch.zeros_like(structure_noise), structure_noise, mix, 1.0, draws)


def denoise(
    predict_noise: NoisePredictor,
    trajectories: Sequence[Trajectory],
    plan: Sequence[PlannedStep],
    *,
    after_step: Callable[[int, Latent], None],
) -> list[Latent]:
    """Sample all trajectories along `plan` and return the output's clean latent of each.

    `after_step(done, predicted_clean)` is called after every step with the first one's prediction, and may raise to
    stop the run.
    """
    for done, planned in enumerate(plan, start=1):
        predicted = predict_injected(predict_noise, trajectories, planned)
        parts = predicted.chunk(len(trajectories))
        clean = [
            trajectory.advance(planned, trajectory.rows(planned), part)
            for trajectory, part in zip(trajectories, parts, strict=True)
        ]
        after_step(done, clean[0])
    return [trajectory.output for trajectory in trajectories]


EPSILON = 1e-5


def masked_adain(
    content: Float[Tensor, "1 channels height width"],
    style: Float[Tensor, "1 channels height width"],
    content_mask: Float[Tensor, "height width"],
    style_mask: Float[Tensor, "height width"],
    strength: float = 1.0,
) -> Float[Tensor, "1 channels height width"]:
    """AdaIN (Huang and Belongie, arXiv 1703.06868, eq. 8) between masks: inside its mask the content takes the mean and
    standard deviation, by channel, that the style has inside its own; outside it stays. Masks are weights, 0 to 1, and
    not all 0; a `strength` below 1 goes only so far."""
    content_mean, content_std = _moments(content, content_mask)
    style_mean, style_std = _moments(style, style_mask)
    moved = (content - content_mean) / content_std * style_std + style_mean
    return torch.lerp(content, moved, content_mask.to(content.dtype) * strength)


def _moments(
    latent: Float[Tensor, "1 channels height width"], mask: Float[Tensor, "height width"]
) -> tuple[Float[Tensor, "1 channels 1 1"], Float[Tensor, "1 channels 1 1"]]:
    weight = mask.to(latent.dtype) / mask.to(latent.dtype).sum()
    mean = (latent * weight).sum((-2, -1), keepdim=True)
    variance = ((latent - mean) ** 2 * weight).sum((-2, -1), keepdim=True)
    return mean, (variance + EPSILON).sqrt()


def believed(matches: TokenMap, mask: LatentMask) -> LatentMask:
    """`mask`, and less of it where matches are doubted."""
    if matches.confidence is None:
        return mask
    plane = matches.confidence.unflatten(0, matches.grid)[None, None].to(mask.dtype)
    return mask * F.interpolate(plane, size=mask.shape, mode="bilinear", align_corners=False)[0, 0]


def move_towards(clean: Latent, rearranged: Latent, strength: float, weight: LatentMask) -> Latent:
    """`x0 + s w (x0_ref[c] - x0)`: the predicted clean latent drawn towards the rearranged reference."""
    return clean + strength * weight * (rearranged - clean)
