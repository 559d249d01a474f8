"""The sampler: one loop, three rows, one call of the UNet per step.

Rows: `output` becomes the result; `reference` is the noised appearance picture; `structure` is the noised target, which
nothing edits. The output takes the structure row's noise map,

    x_out[t-1] = mu(x_out[t]) + (x_structure[t-1] - mu(x_structure[t])),

which replays the target exactly where nothing is rearranged (edit-friendly DDPM inversion, arXiv 2304.06140, without
the separate inversion: `sigma_t z_t` of the two-stage form *is* the bracket). It holds because the structure row sees
the same prompt, guidance and sizes, is never edited, its draws are kept from one step to the next, and this arithmetic
runs in float32 at least. The bracket is kept at the last step too, where sigma is 0. A `noise_mix` may replay the
bracket in part, or put noise of the output's own in its place, at an equal level of noise.

Re-anchoring makes the prediction of one step the picture that the structure row shows from there on. Until then the
noise maps replay the target's edges in the target's colours, halos included; afterwards, in the new ones.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from core.guidance import NoisePredictor, Rows
from core.match import TokenMap
from core.rearrange import FeatureInjection, Injection, move_towards
from core.schedule import REPLAYED, NoiseDraws, NoiseMix, Step, add_noise, predict_clean, step_mean, step_sigma
from core.statistics import masked_adain

Latent = Float[Tensor, "1 channels height width"]
Mask = Float[Tensor, "height width"]


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


@dataclass(frozen=True)
class LatentPair:
    """Both pictures as clean latents, and where each takes part (weights at the latent's size)."""

    target: Latent
    reference: Latent
    target_mask: Mask
    reference_mask: Mask


def predict_injected(
    predict_noise: NoisePredictor, noisy: Rows, injection: FeatureInjection, planned: PlannedStep
) -> Rows:
    """What the network says of all rows; the output's, which is the first, drawn away from what it says uninjected."""
    injection.mode = planned.injection
    predicted = predict_noise(noisy, planned.step.timestep)
    if planned.injection_guidance != 1.0:
        injection.mode = Injection.NONE
        without = predict_noise(noisy[:1], planned.step.timestep)
        predicted[:1] = without + planned.injection_guidance * (predicted[:1] - without)
    return predicted


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
    pair: LatentPair,
    plan: Sequence[PlannedStep],
    injection: FeatureInjection,
    rearrange: Callable[[TokenMap], Latent],
    *,
    eta: float,
    prediction_type: str,
    seed: int,
    after_step: Callable[[int, Latent], None],
) -> Latent:
    """Sample the output row along `plan` and return its clean latent.

    `rearrange` gives the reference's clean latent rearranged by a map; it is asked once per map.
    `after_step(done, predicted_clean)` is called after every step and may raise to stop the run.
    """
    target_draws, reference_draws, output_draws = (NoiseDraws(seed, row) for row in (0, 1, 3))
    first = plan[0].step.alpha_bar
    structure_noise = target_draws.like(pair.target)
    structure = add_noise(pair.target, structure_noise, first)
    reference = add_noise(pair.reference, reference_draws.like(pair.reference), first)
    output = add_noise(pair.target, starting_noise(structure_noise, plan[0].noise_mix, output_draws), first)
    anchor = pair.target
    rearranged, rearranged_by = pair.reference, None

    for done, planned in enumerate(plan, start=1):
        step = planned.step
        matched = planned.injection is Injection.MATCHED
        noisy = torch.cat([output, reference, structure] if matched else [output, structure])
        predicted = predict_injected(predict_noise, noisy, injection, planned)
        clean, noise = predict_clean(noisy, predicted, step.alpha_bar, prediction_type)
        clean_output, clean_structure = clean[:1], clean[-1:]

        if planned.clean_latent_strength and injection.last_map is not None:
            if injection.last_map is not rearranged_by:
                rearranged_by = injection.last_map
                rearranged = rearrange(rearranged_by)
            clean_output = move_towards(clean_output, rearranged, planned.clean_latent_strength, pair.target_mask)

        mix = planned.noise_mix
        mean_output = step_mean(clean_output, noise[:1], step, eta * mix.share)
        if planned.reanchor:
            anchor = torch.lerp(pair.target, clean_output, pair.target_mask)
        next_structure = add_noise(anchor, target_draws.like(anchor), step.alpha_bar_prev)
        reference = add_noise(pair.reference, reference_draws.like(pair.reference), step.alpha_bar_prev)
        noise_map = next_structure - step_mean(clean_structure, noise[-1:], step, eta)
        output = add_step_noise(mean_output, noise_map, mix, step_sigma(step, eta), output_draws)
        if planned.reanchor:
            output = next_structure
        structure = next_structure

        if planned.adain:
            output = masked_adain(output, reference, pair.target_mask, pair.reference_mask)
        output = torch.lerp(structure, output, pair.target_mask)
        after_step(done, clean_output)
    return output
