"""The schedule and the arithmetic of a step, against diffusers and by hand."""

from itertools import pairwise

import pytest
import torch
from diffusers import DDIMScheduler

from core.models.noise import REPLAYED, NoiseDraws, make_steps, mix_noise, predict_clean, step_mean, step_sigma


def scheduler(prediction_type: str = "epsilon") -> DDIMScheduler:
    return DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        timestep_spacing="leading",
        steps_offset=1,
        clip_sample=False,
        prediction_type=prediction_type,
    )


def test_the_papers_settings_start_at_its_timestep() -> None:
    steps = make_steps(scheduler().alphas_cumprod, num_inference_steps=100, strength=0.68)
    assert len(steps) == 68
    assert [step.timestep for step in steps[:3]] == [671, 661, 651]
    assert steps[-1].timestep == 1
    assert steps[-1].alpha_bar_prev == 1.0


def test_trailing_steps_are_those_of_diffusers() -> None:
    reference = DDIMScheduler.from_config(scheduler().config, timestep_spacing="trailing")
    for count in (1, 4, 7, 8, 50):
        reference.set_timesteps(count)
        steps = make_steps(reference.alphas_cumprod, num_inference_steps=count, strength=1.0, spacing="trailing")
        assert [step.timestep for step in steps] == reference.timesteps.tolist()
    three = make_steps(reference.alphas_cumprod, num_inference_steps=4, strength=0.7, spacing="trailing")
    assert [step.timestep for step in three] == [749, 499, 249]


@pytest.mark.parametrize(("count", "strength"), [(2, 1.0), (30, 0.8), (200, 0.001), (7, 0.5)])
def test_steps_run_down_and_chain(count: int, strength: float) -> None:
    steps = make_steps(scheduler().alphas_cumprod, num_inference_steps=count, strength=strength)
    assert len(steps) >= 1
    for step, following in pairwise(steps):
        assert step.alpha_bar_prev == following.alpha_bar > step.alpha_bar


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction", "sample"])
@pytest.mark.parametrize("eta", [0.3, 1.0])
def test_a_step_equals_diffusers_ddim_step(prediction_type: str, eta: float) -> None:
    reference = scheduler(prediction_type)
    reference.set_timesteps(20)
    steps = make_steps(reference.alphas_cumprod, num_inference_steps=20, strength=1.0)
    assert [step.timestep for step in steps] == reference.timesteps.tolist()
    generator = torch.Generator().manual_seed(0)
    for step in steps[:-1]:
        noisy, output, variance = torch.randn(3, 1, 4, 8, 8, generator=generator, dtype=torch.float64)
        clean, noise = predict_clean(noisy, output, step.alpha_bar, prediction_type)
        ours = step_mean(clean, noise, step, eta) + step_sigma(step, eta) * variance
        theirs = reference.step(output, step.timestep, noisy, eta=eta, variance_noise=variance).prev_sample
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


def test_the_last_step_has_no_noise_and_means_the_predicted_picture() -> None:
    step = make_steps(scheduler().alphas_cumprod, num_inference_steps=10, strength=1.0)[-1]
    clean, noise = torch.randn(2, 1, 4, 3, 3)
    assert step_sigma(step, 1.0) == 0.0
    torch.testing.assert_close(step_mean(clean, noise, step, 1.0), clean)


def test_an_unknown_prediction_type_is_refused() -> None:
    with pytest.raises(ValueError, match="flow"):
        predict_clean(torch.zeros(1, 1, 1, 1), torch.zeros(1, 1, 1, 1), 0.5, "flow")


def test_draws_repeat_by_seed_and_differ_by_row_and_time() -> None:
    latent = torch.zeros(1, 4, 2, 2)
    first, again = NoiseDraws(5, row=0), NoiseDraws(5, row=0)
    one, two = first.like(latent), first.like(latent)
    assert torch.equal(one, again.like(latent))
    assert not torch.equal(one, two)
    assert not torch.equal(one, NoiseDraws(5, row=1).like(latent))
    assert not torch.equal(one, NoiseDraws(6, row=0).like(latent))


def test_a_draw_is_the_same_number_in_every_precision() -> None:
    wide = NoiseDraws(1, row=0).like(torch.zeros(2, 3, dtype=torch.float64))
    narrow = NoiseDraws(1, row=0).like(torch.zeros(2, 3, dtype=torch.float32))
    torch.testing.assert_close(wide.float(), narrow, rtol=0, atol=0)


def test_shares_of_noise_add_up_to_one_level() -> None:
    assert mix_noise("structure", 1.0) == mix_noise("blend", 1.0) == REPLAYED
    for mix in (mix_noise("forward", 0.3), mix_noise("blend", 0.3), REPLAYED):
        assert mix.share == 1.0
        assert mix.replayed**2 + mix.fresh**2 == pytest.approx(1.0)
    assert mix_noise("structure", 0.3).share == 0.3
