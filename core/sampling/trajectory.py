"""One seed's trajectory from noise to picture: the arithmetic of a step.

Rows: `output` becomes the result; every `reference` is a noised appearance picture; `structure` is the noised target,
which nothing edits. The output takes the structure row's noise map,

    x_out[t-1] = mu(x_out[t]) + (x_structure[t-1] - mu(x_structure[t])),

which replays the target exactly where nothing is rearranged (edit-friendly DDPM inversion, arXiv 2304.06140, without
the separate inversion: `sigma_t z_t` of the two-stage form *is* the bracket). It holds because the structure row has
the same prompt, guidance and sizes, is never edited, its draws are kept from one step to the next, and this arithmetic
runs in float32 at least. The bracket is kept at the last step too, where sigma is 0. A `noise_mix` may replay the
bracket in part, or put noise of the output's own in its place, at an equal level of noise.

Re-anchoring makes the prediction of one step the picture that the structure row shows from there on. Until then the
noise maps replay the target's edges in the target's colours, halos included; afterwards, in the new ones.

Rearranging the predicted clean latent is ours: feature injection alone barely moves colour in SDXL's layout, where no
attention has the latent's own resolution and skip connections carry the target's colours past it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from core.injection import Injected, Maps
from core.matching.correspondence import Correspondence
from core.matching.warp import rearrange_picture
from core.models.noise import REPLAYED, NoiseDraws, NoiseMix, Step, add_noise, predict_clean, step_mean, step_sigma
from core.models.unet import SeedRows
from core.scene import Scene
from core.types import EncodedRegion, Latent, LatentMask

Warp = Callable[[EncodedRegion, Correspondence], Latent]
"""A region's reference as a clean latent, rearranged by a correspondence."""
EPSILON = 1e-5


@dataclass(frozen=True)
class PlannedStep:
    """One step and what is done in it."""

    step: Step
    injected: Injected
    warp_strength: float
    """How far the predicted clean latent is drawn to the warped references."""
    adain: bool
    reanchor: bool = False
    """Whether the structure row becomes, from here on, the noised prediction of this step."""
    swap_guidance_scale: float = 1.0
    noise_mix: NoiseMix = REPLAYED


class Trajectory:
    """All rows of one seed on their way from noise to picture."""

    def __init__(self, scene: Scene, warp: Warp, *, first: PlannedStep, eta: float, seed: int) -> None:
        self._scene = scene
        self._warp = warp
        self._eta = eta
        self._target_draws, self._reference_draws, self._output_draws = (NoiseDraws(seed, row) for row in (0, 1, 3))
        target, alpha_bar = scene.target_latent, first.step.alpha_bar
        structure_noise = self._target_draws.like(target)
        self._structure = add_noise(target, structure_noise, alpha_bar)
        self._references = self._noised_references(alpha_bar)
        started = starting_noise(structure_noise, first.noise_mix, self._output_draws)
        self._output = add_noise(target, started, alpha_bar)
        self._anchor = target
        self._mask = union([region.target_latent_mask for region in scene.regions])
        self._warped: list[Latent] = [region.reference_latent for region in scene.regions]
        self._warped_by: list[Correspondence | None] = [None] * len(scene.regions)

    @property
    def output(self) -> Latent:
        """The output row: noisy on the way, clean after the last step."""
        return self._output

    def rows(self, planned: PlannedStep) -> SeedRows:
        """The UNet's input at a step: the references only where they are matched."""
        references = self._references if planned.injected is Injected.MATCHED else []
        return SeedRows(self._output, tuple(references), self._structure)

    def advance(self, planned: PlannedStep, predicted: SeedRows, maps: Maps) -> Latent:
        """Takes one step by the UNet's output for `rows`, with one correspondence per region where there is one;
        returns the output's predicted clean latent."""
        step, mix, target = planned.step, planned.noise_mix, self._scene.target_latent
        prediction_type = self._scene.models.prediction_type
        clean_output, noise = predict_clean(self._output, predicted.output, step.alpha_bar, prediction_type)
        structure_row = predict_clean(self._structure, predicted.structure, step.alpha_bar, prediction_type)
        clean_structure, structure_noise = structure_row
        if planned.warp_strength:
            clean_output = self._drawn_to_references(clean_output, clean_structure, planned.warp_strength, maps)
        mean_output = step_mean(clean_output, noise, step, self._eta * mix.share)
        if planned.reanchor:
            self._anchor = torch.lerp(target, clean_output, self._mask)
        structure = add_noise(self._anchor, self._target_draws.like(target), step.alpha_bar_prev)
        self._references = self._noised_references(step.alpha_bar_prev)
        noise_map = structure - step_mean(clean_structure, structure_noise, step, self._eta)
        output = add_step_noise(mean_output, noise_map, mix, step_sigma(step, self._eta), self._output_draws)
        if planned.reanchor:
            output = structure
        if planned.adain:
            for region, reference in zip(self._scene.regions, self._references, strict=True):
                masks = (region.target_latent_mask, region.reference_latent_mask)
                output = masked_adain(output, reference, *masks, region.scale)
        self._structure = structure
        self._output = torch.lerp(structure, output, self._mask)
        return clean_output

    def start_from_warp(self, dead: Sequence[PlannedStep], maps: Maps) -> None:
        """Begins after the `dead` steps, the last of which re-anchors, with the warped references as the anchor and the
        draws that those steps would have left."""
        target, alpha_bar = self._scene.target_latent, dead[-1].step.alpha_bar_prev
        warped = self._drawn_to_references(target, target, 1.0, maps)
        self._anchor = torch.lerp(target, warped, self._mask)
        for _ in dead:
            draw = self._target_draws.like(target)
            self._references = self._noised_references(alpha_bar)
        self._structure = self._output = add_noise(self._anchor, draw, alpha_bar)

    def _noised_references(self, alpha_bar: float) -> list[Latent]:
        """All of one draw: they never meet, and a further one changes nothing for the others."""
        regions = self._scene.regions
        draw = self._reference_draws.like(regions[0].reference_latent)
        return [add_noise(region.reference_latent, draw, alpha_bar) for region in regions]

    def _drawn_to_references(self, clean: Latent, clean_structure: Latent, strength: float, maps: Maps) -> Latent:
        """The output's prediction drawn towards the warped references; each is warped once per correspondence."""
        moved = clean
        for number, (region, found) in enumerate(zip(self._scene.regions, maps, strict=True)):
            if found is None:
                continue
            if found is not self._warped_by[number]:
                self._warped_by[number] = found
                self._warped[number] = self._warp(region, found)
            goal = torch.lerp(clean_structure, self._warped[number], region.scale)
            weight = confidence_mask(found, region.target_latent_mask)
            moved = move_towards(moved, goal, strength, weight)
        return moved


def warp_latent(region: EncodedRegion, found: Correspondence) -> Latent:
    """The reference's latent warped as it is, which is cheap: for correspondences that serve a single step."""
    return rearrange_picture(region.reference_latent[0], found, region.target_latent_mask)[None]


def union(masks: Sequence[LatentMask]) -> LatentMask:
    """The sum, at most 1, of masks that do not overlap."""
    total = masks[0]
    for mask in masks[1:]:
        total = total + mask
    return total.clamp(max=1.0)


def add_step_noise(mean: Latent, noise_map: Latent, mix: NoiseMix, sigma: float, draws: NoiseDraws) -> Latent:
    """`mean` with the shares of `mix`: of a noise map, which has its own scale, and of fresh noise of `sigma`."""
    noisy = mean + mix.replayed * noise_map
    return noisy + mix.fresh * sigma * draws.like(noisy) if mix.fresh else noisy


def starting_noise(structure_noise: Latent, mix: NoiseMix, draws: NoiseDraws) -> Latent:
    """The output's first noise: the structure row's, or as much of it as the first step replays."""
    if not mix.fresh:
        return structure_noise
    return add_step_noise(torch.zeros_like(structure_noise), structure_noise, mix, 1.0, draws)


def masked_adain(
    content: Latent, style: Latent, content_mask: LatentMask, style_mask: LatentMask, strength: float = 1.0
) -> Latent:
    """AdaIN (Huang and Belongie, arXiv 1703.06868, eq. 8) between masks: inside its mask the content takes the mean and
    standard deviation, by channel, that the style has inside its own; outside it stays. Masks are weights, 0 to 1, and
    not all 0; a `strength` below 1 goes only so far."""
    content_mean, content_std = _moments(content, content_mask)
    style_mean, style_std = _moments(style, style_mask)
    moved = (content - content_mean) / content_std * style_std + style_mean
    return torch.lerp(content, moved, content_mask.to(content.dtype) * strength)


def _moments(
    latent: Latent, mask: LatentMask
) -> tuple[Float[Tensor, "1 latent_channels 1 1"], Float[Tensor, "1 latent_channels 1 1"]]:
    weight = mask.to(latent.dtype) / mask.to(latent.dtype).sum()
    mean = (latent * weight).sum((-2, -1), keepdim=True)
    variance = ((latent - mean) ** 2 * weight).sum((-2, -1), keepdim=True)
    return mean, (variance + EPSILON).sqrt()


def confidence_mask(found: Correspondence, mask: LatentMask) -> LatentMask:
    """`mask` times the confidence of the matches."""
    if found.confidence is None:
        return mask
    plane = found.confidence.unflatten(0, found.grid)[None, None].to(mask.dtype)
    return mask * F.interpolate(plane, size=mask.shape, mode="bilinear", align_corners=False)[0, 0]


def move_towards(clean: Latent, rearranged: Latent, strength: float, weight: LatentMask) -> Latent:
    """`x0 + s w (x0_ref[c] - x0)`: the predicted clean latent drawn towards the rearranged reference."""
    return clean + strength * weight * (rearranged - clean)
