"""One step of a trajectory: which noise is added, how far the clean latent moves, and statistics."""

import pytest
import torch

from core.finish import Proposal
from core.injection import FeatureInjection, Injected
from core.masks.regions import SelectedRegion
from core.matching.correspondence import Correspondence
from core.models.models import Models
from core.models.noise import (
    NoiseDraws,
    NoiseMix,
    Step,
    add_noise,
    mix_noise,
    predict_clean,
    step_mean,
    step_sigma,
)
from core.models.unet import NoisePredictor
from core.params.transfer import InjectionParams, LatentParams, TransferParams
from core.pipeline import TransferInputs, encode, encode_prompts, prepare
from core.sampling.sampler import InjectedUnet
from core.sampling.trajectory import (
    PlannedStep,
    Trajectory,
    confidence_mask,
    masked_adain,
    move_towards,
    warp_latent,
)
from core.types import Latent, Rows
from tests.tiny import tiny_models
from tests.unit.core.scenes import make_scene

STEP = Step(timestep=500, noise_level=0.5, alpha_bar=0.3, alpha_bar_prev=0.5)
SEED = 4
RED, GREEN = torch.tensor([0.9, 0.1, 0.1])[:, None, None], torch.tensor([0.1, 0.9, 0.1])[:, None, None]


def latents(size: int = 8) -> tuple[Latent, Latent]:
    """Of a target and a reference."""
    target, reference = torch.randn(
        2, 1, 4, size, size, generator=torch.Generator().manual_seed(0), dtype=torch.float64
    )
    return target, reference


def predict(rows: Rows, timestep: int) -> Rows:
    """A network of one line: what it predicts depends on its input and its row."""
    return rows.flip(-1) * 0.3


def one_step(
    mix: NoiseMix,
    *,
    injected: Injected = Injected.NOTHING,
    guidance: float = 1.0,
    network: NoisePredictor = predict,
) -> torch.Tensor:
    planned = PlannedStep(STEP, injected, 0.0, False, swap_guidance_scale=guidance, noise_mix=mix)
    everywhere = torch.ones(8, 8, dtype=torch.float64)
    scene = make_scene(tiny_models(), *latents(), (everywhere, everywhere), network)
    injection = FeatureInjection(scene.regions, scene.latent_size, 1.0, None)
    unet = InjectedUnet(scene, [], injection, InjectionParams(), ())
    trajectory = Trajectory(scene, warp_latent, first=planned, eta=1.0, seed=SEED)
    called = unet.predict(planned, [trajectory.rows(planned)], [(None,)])
    trajectory.advance(planned, called.predicted[0], called.found[0])
    return trajectory.output


def draws(row: int, count: int) -> list[torch.Tensor]:
    source, (target, _) = NoiseDraws(SEED, row), latents()
    return [source.like(target) for _ in range(count)]


@pytest.mark.parametrize("scale", [0.0, 0.4, 1.0])
def test_a_map_replayed_in_part_leaves_the_rest_of_the_step_deterministic(scale: float) -> None:
    """DDIM's eta, eq. 16, is what is left of the noise; at none of it the step is DDIM's with eta 0."""
    target, _ = latents()
    first, second = draws(0, 2)
    noisy = add_noise(target, first, STEP.alpha_bar)
    clean, noise = predict_clean(noisy, predict(noisy, 0), STEP.alpha_bar, "epsilon")
    noise_map = add_noise(target, second, STEP.alpha_bar_prev) - step_mean(clean, noise, STEP, 1.0)
    expected = step_mean(clean, noise, STEP, scale) + scale * noise_map
    torch.testing.assert_close(one_step(mix_noise("structure", scale)), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("scale", [0.0, 0.6])
def test_forward_noise_is_the_outputs_own(scale: float) -> None:
    target, _ = latents()
    first, second = draws(0, 2)
    own_start, own_noise = draws(3, 2)
    fresh = (1.0 - scale**2) ** 0.5
    structure = add_noise(target, first, STEP.alpha_bar)
    noisy = add_noise(target, scale * first + fresh * own_start, STEP.alpha_bar)
    means = [
        step_mean(*predict_clean(row, predict(row, 0), STEP.alpha_bar, "epsilon"), STEP, 1.0)
        for row in (noisy, structure)
    ]
    noise_map = add_noise(target, second, STEP.alpha_bar_prev) - means[1]
    expected = means[0] + scale * noise_map + fresh * step_sigma(STEP, 1.0) * own_noise
    mix = mix_noise("blend", scale) if scale else mix_noise("forward", 0.9)
    torch.testing.assert_close(one_step(mix), expected, rtol=0, atol=1e-12)


def test_appearance_guidance_draws_away_from_the_prediction_without_injection() -> None:
    """A network that sees whether it is injected: the output's row alone is drawn, by the factor."""

    def network(rows: Rows, timestep: int) -> Rows:
        return predict(rows, timestep) + (0.5 if len(rows) == 3 else 0.0)

    plain, injected, guided = (
        one_step(NoiseMix(replayed=0.0), injected=way, guidance=guidance, network=network)
        for way, guidance in ((Injected.NOTHING, 1.0), (Injected.MATCHED, 1.0), (Injected.MATCHED, 3.0))
    )
    torch.testing.assert_close(guided - plain, 3.0 * (injected - plain), rtol=0, atol=1e-12)
    assert (injected - plain).abs().max() > 1e-2


def test_less_of_the_clean_latent_moves_where_matches_are_not_trusted() -> None:
    found = Correspondence((1, 2), torch.tensor([0, 1]), torch.ones(2), torch.tensor([1.0, 0.0]))
    weight = confidence_mask(found, torch.ones(2, 8))
    assert weight[:, 0].tolist() == [1.0, 1.0]
    assert weight[:, -1].tolist() == [0.0, 0.0]
    assert torch.equal(confidence_mask(Correspondence((1, 2), torch.tensor([0, 1]), torch.ones(2)), weight), weight)


def test_matches_beyond_the_references_outline_bring_none_of_its_surroundings(models: Models) -> None:
    """Every token is matched to a place outside the mask, before one background and before another."""
    target = torch.rand(3, 64, 64, generator=torch.Generator().manual_seed(5))
    mask = torch.zeros(64, 64)
    mask[16:48, 16:48] = 1.0
    corner = Correspondence((8, 8), torch.zeros(64, dtype=torch.long), torch.ones(64))
    warped = []
    for background in (GREEN, 1.0 - GREEN):
        reference = torch.where(mask > 0.0, RED, background).expand(3, 64, 64)
        inputs, params = TransferInputs(target, reference), TransferParams(resolution=64)
        selected = SelectedRegion(reference, mask, mask)
        canvases = prepare(models, target, selected, params)
        scene = encode(models, *canvases, encode_prompts(models, inputs, params, canvases[0]), 1.0)
        proposal = Proposal(scene, target, selected, corner, LatentParams(shading_strength=0.0))
        warped.append(proposal.at(proposal.extent))
    torch.testing.assert_close(warped[0], warped[1])


def test_moving_towards_honours_strength_and_soft_weights() -> None:
    clean, rearranged = torch.zeros(1, 1, 1, 3), torch.ones(1, 1, 1, 3)
    moved = move_towards(clean, rearranged, 0.5, torch.tensor([[0.0, 0.5, 1.0]]))
    assert moved.flatten().tolist() == [0.0, 0.25, 0.5]


def test_adain_gives_the_content_the_styles_moments_inside_the_masks() -> None:
    content, style = torch.randn(1, 4, 8, 8), 3.0 * torch.randn(1, 4, 8, 8) + 5.0
    content_mask, style_mask = torch.zeros(8, 8), torch.zeros(8, 8)
    content_mask[:4], style_mask[:, 2:] = 1.0, 1.0
    result = masked_adain(content, style, content_mask, style_mask)
    inside, outside = result[..., :4, :], result[..., 4:, :]
    assert torch.equal(outside, content[..., 4:, :])
    expected = style[..., 2:]
    torch.testing.assert_close(inside.mean((-2, -1)), expected.mean((-2, -1)), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(
        inside.var((-2, -1), correction=0), expected.var((-2, -1), correction=0), rtol=1e-3, atol=1e-3
    )


def test_adain_with_oneself_is_the_identity() -> None:
    latent, mask = torch.randn(1, 4, 6, 6), torch.rand(6, 6)
    torch.testing.assert_close(masked_adain(latent, latent, mask, mask), latent, rtol=0, atol=1e-4)


@pytest.mark.parametrize("strength", [0.0, 0.3, 1.0])
def test_adain_goes_as_far_as_it_is_asked(strength: float) -> None:
    content, style = torch.randn(2, 1, 4, 8, 8)
    mask = torch.ones(8, 8)
    whole = masked_adain(content, style, mask, mask)
    torch.testing.assert_close(masked_adain(content, style, mask, mask, strength), torch.lerp(content, whole, strength))
