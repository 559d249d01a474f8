"""Noise of a step, appearance guidance and FreeU: what is added, at which level, and that nothing of it stays."""

import pytest
import torch

from core.injection import FeatureInjection, InjectedRegion, Injection
from core.models.models import Models
from core.models.noise import (
    REPLAYED,
    NoiseDraws,
    NoiseMix,
    Step,
    add_noise,
    mix_noise,
    predict_clean,
    step_mean,
    step_sigma,
)
from core.models.unet import FreeU, NoisePredictor, falling_guidance, freeu
from core.sampling.trajectory import PlannedStep, Trajectory, denoise
from core.types import LatentPair, Rows

STEP = Step(timestep=500, noise_level=0.5, alpha_bar=0.3, alpha_bar_prev=0.5)
SEED = 4


def pair(size: int = 8) -> LatentPair:
    target, reference = torch.randn(
        2, 1, 4, size, size, generator=torch.Generator().manual_seed(0), dtype=torch.float64
    )
    everywhere = torch.ones(size, size, dtype=torch.float64)
    return LatentPair(target, reference, everywhere, everywhere)


def predict(rows: Rows, timestep: int) -> Rows:
    """A network of one line: what it says depends on its input and its row."""
    return rows.flip(-1) * 0.3


def one_step(
    latents: LatentPair,
    mix: NoiseMix,
    *,
    injection: Injection = Injection.NONE,
    guidance: float = 1.0,
    network: NoisePredictor = predict,
) -> torch.Tensor:
    planned = PlannedStep(STEP, injection, 0.0, False, injection_guidance=guidance, noise_mix=mix)
    trajectory = Trajectory(
        [latents],
        FeatureInjection([InjectedRegion(latents.target_mask, latents.reference_mask)]),
        lambda region, token_map: latents.reference,
        first=planned,
        eta=1.0,
        prediction_type="epsilon",
        seed=SEED,
    )
    (output,) = denoise(network, [trajectory], [planned], after_step=lambda done, clean: None)
    return output


def draws(latents: LatentPair, row: int, count: int) -> list[torch.Tensor]:
    source = NoiseDraws(SEED, row)
    return [source.like(latents.target) for _ in range(count)]


@pytest.mark.parametrize("strength", [0.0, 0.4, 1.0])
def test_a_map_replayed_in_part_leaves_the_rest_of_the_step_deterministic(strength: float) -> None:
    """DDIM's eta, eq. 16, is what is left of the noise; at none of it the step is DDIM's with eta 0."""
    latents = pair()
    first, second = draws(latents, 0, 2)
    noisy = add_noise(latents.target, first, STEP.alpha_bar)
    clean, noise = predict_clean(noisy, predict(noisy, 0), STEP.alpha_bar, "epsilon")
    noise_map = add_noise(latents.target, second, STEP.alpha_bar_prev) - step_mean(clean, noise, STEP, 1.0)
    expected = step_mean(clean, noise, STEP, strength) + strength * noise_map
    torch.testing.assert_close(one_step(latents, mix_noise("structure", strength)), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("strength", [0.0, 0.6])
def test_forward_noise_is_the_outputs_own(strength: float) -> None:
    latents = pair()
    first, second = draws(latents, 0, 2)
    own_start, own_noise = draws(latents, 3, 2)
    fresh = (1.0 - strength**2) ** 0.5
    structure = add_noise(latents.target, first, STEP.alpha_bar)
    noisy = add_noise(latents.target, strength * first + fresh * own_start, STEP.alpha_bar)
    means = [
        step_mean(*predict_clean(row, predict(row, 0), STEP.alpha_bar, "epsilon"), STEP, 1.0)
        for row in (noisy, structure)
    ]
    noise_map = add_noise(latents.target, second, STEP.alpha_bar_prev) - means[1]
    expected = means[0] + strength * noise_map + fresh * step_sigma(STEP, 1.0) * own_noise
    mode = mix_noise("blend", strength) if strength else mix_noise("forward", 0.9)
    torch.testing.assert_close(one_step(latents, mode), expected, rtol=0, atol=1e-12)


def test_shares_of_noise_add_up_to_one_level() -> None:
    assert mix_noise("structure", 1.0) == mix_noise("blend", 1.0) == REPLAYED
    for mix in (mix_noise("forward", 0.3), mix_noise("blend", 0.3), REPLAYED):
        assert mix.share == 1.0
        assert mix.replayed**2 + mix.fresh**2 == pytest.approx(1.0)
    assert mix_noise("structure", 0.3).share == 0.3


def test_appearance_guidance_draws_away_from_the_prediction_without_injection() -> None:
    """A network that sees whether it is injected: the output's row alone is drawn, by the factor."""
    latents = pair()

    def network(rows: Rows, timestep: int) -> Rows:
        return predict(rows, timestep) + (0.5 if len(rows) == 3 else 0.0)

    plain, injected, guided = (
        one_step(latents, NoiseMix(replayed=0.0), injection=injection, guidance=guidance, network=network)
        for injection, guidance in ((Injection.NONE, 1.0), (Injection.MATCHED, 1.0), (Injection.MATCHED, 3.0))
    )
    torch.testing.assert_close(guided - plain, 3.0 * (injected - plain), rtol=0, atol=1e-12)
    assert (injected - plain).abs().max() > 1e-2


def test_appearance_guidance_falls_to_its_half_but_not_below_one() -> None:
    assert [falling_guidance(3.5, done, 3) for done in range(3)] == [3.5, 2.625, 1.75]
    assert falling_guidance(1.4, 4, 5) == pytest.approx(1.0)
    assert falling_guidance(1.0, 0, 1) == 1.0


def call(models: Models) -> torch.Tensor:
    output: torch.Tensor = models.unet(
        torch.randn(1, 4, 32, 32, generator=torch.Generator().manual_seed(0)),
        torch.tensor(10),
        encoder_hidden_states=torch.zeros(1, 16, 32),
        added_cond_kwargs={"text_embeds": torch.zeros(1, 16), "time_ids": torch.zeros(1, 6)},
    ).sample
    return output


@torch.no_grad()
def test_freeu_scales_the_first_two_up_blocks_and_leaves_nothing(models: Models) -> None:
    plain = call(models)
    results = []
    for factors in (FreeU(), FreeU(b1=1.3), FreeU(b2=1.4), FreeU(s1=0.5), FreeU(s2=0.2)):
        with freeu(models.unet, factors):
            results.append(call(models))
        assert torch.equal(call(models), plain), "after leaving"
    assert torch.equal(results[0], plain), "all 1 is off"
    for changed in results[1:]:
        assert not torch.allclose(changed, plain, atol=1e-5)
