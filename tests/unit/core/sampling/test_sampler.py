"""The sampler against a slow reading of the method: invert first, then replay, one row at a time, token by token."""

from collections.abc import Callable

import pytest
import torch

from core.injection import FeatureInjection, InjectedRegion, Injection
from core.matching.warp import rearrange_picture
from core.models.models import Models, encode_prompt
from core.models.noise import NoiseDraws, Step, add_noise, make_steps, predict_clean, step_mean, step_sigma
from core.models.unet import NoisePredictor, make_predictor, patched, recorded, select_layers
from core.params.transfer import TransferParams
from core.sampling.sampler import plan_steps
from core.sampling.trajectory import PlannedStep, Trajectory, denoise
from core.types import LatentPair
from tests.tiny import tiny_models, tiny_sd15_models

SIZE = (16, 24)
PLAIN = TransferParams(
    num_steps=6,
    strength=0.9,
    match_source="layer",
    clean_latent_strength=0.0,
    reanchor_level=0.0,
    adain_range=(0, 0),
)


def make_pair(dtype: torch.dtype, *, masked: bool = True) -> LatentPair:
    generator = torch.Generator().manual_seed(3)
    target, reference = torch.randn(2, 1, 4, *SIZE, generator=generator, dtype=torch.float64).to(dtype)
    masks = torch.zeros(2, *SIZE, dtype=dtype) if masked else torch.ones(2, *SIZE, dtype=dtype)
    masks[0, 4:14, 4:20] = 1.0
    masks[1, 2:16, 0:16] = 1.0
    return LatentPair(target, reference, masks[0], masks[1])


def predictor(models: Models, guidance_scale: float) -> NoisePredictor:
    conditional = encode_prompt(models, "a bird", height=32, width=48)
    unconditional = None
    if guidance_scale != 1.0:
        unconditional = encode_prompt(models, "", height=32, width=48, negative=True)
    return make_predictor(models.unet, conditional, unconditional, guidance_scale)


def one_stage(
    models: Models, pair: LatentPair, plan: list[PlannedStep], guidance_scale: float, eta: float
) -> torch.Tensor:
    injection = FeatureInjection([InjectedRegion(pair.target_mask, pair.reference_mask)])
    trajectory = Trajectory(
        [pair],
        injection,
        lambda region, matches: rearrange_picture(pair.reference[0], matches, pair.target_mask)[None],
        first=plan[0],
        eta=eta,
        prediction_type=models.prediction_type,
        seed=11,
    )
    with patched(models.unet, select_layers(models.unet, models.backbone.injection_layers), injection):
        (output,) = denoise(predictor(models, guidance_scale), [trajectory], plan, after_step=lambda done, clean: None)
    return output


def two_stage(
    models: Models, pair: LatentPair, plan: list[PlannedStep], guidance_scale: float, eta: float
) -> torch.Tensor:
    predict = predictor(models, guidance_scale)
    layers = select_layers(models.unet, models.backbone.injection_layers)

    def mean(noisy: torch.Tensor, output: torch.Tensor, step: Step) -> torch.Tensor:
        return step_mean(*predict_clean(noisy, output, step.alpha_bar, "epsilon"), step, eta)

    # First stage: the structure picture's trajectory, its noise maps, and its features at every step.
    draws = NoiseDraws(11, row=0)
    noisy = add_noise(pair.target, draws.like(pair.target), plan[0].step.alpha_bar)
    start, maps, structure_features = noisy, [], []
    for planned in plan:
        with recorded(models.unet, layers) as seen:
            predicted = predict(noisy, planned.step.timestep)
        structure_features.append(dict(seen))
        following = add_noise(pair.target, draws.like(pair.target), planned.step.alpha_bar_prev)
        difference = following - mean(noisy, predicted, planned.step)
        sigma = step_sigma(planned.step, eta)
        maps.append(difference / sigma if sigma > 0 else difference)
        noisy = following

    # Second stage: replay, with the reference noised beside it and every token matched in a loop.
    draws = NoiseDraws(11, row=1)
    reference = add_noise(pair.reference, draws.like(pair.reference), plan[0].step.alpha_bar)
    structure_draws = NoiseDraws(11, row=0)
    structure_draws.like(pair.target)
    output = start
    for planned, noise_map, structure in zip(plan, maps, structure_features, strict=True):
        step = planned.step
        with recorded(models.unet, layers) as seen:
            predict(reference, step.timestep)
        edit = slow_edit(planned.injection, dict(seen), structure, pair)
        with patched(models.unet, layers, edit):
            predicted = predict(output, step.timestep)
        sigma = step_sigma(step, eta)
        output = mean(output, predicted, step) + (sigma * noise_map if sigma > 0 else noise_map)
        reference = add_noise(pair.reference, draws.like(pair.reference), step.alpha_bar_prev)
        background = add_noise(pair.target, structure_draws.like(pair.target), step.alpha_bar_prev)
        output = torch.where(pair.target_mask > 0.5, output, background)
    return output


def slow_edit(
    injection: Injection, reference: dict[str, torch.Tensor], structure: dict[str, torch.Tensor], pair: LatentPair
) -> Callable[[str, torch.Tensor], torch.Tensor]:
    def edit(name: str, features: torch.Tensor) -> torch.Tensor:
        if injection is Injection.NONE:
            return features
        factor = int((pair.target_mask.numel() / features.shape[1]) ** 0.5)
        inside, allowed = (
            mask.unfold(0, factor, factor).unfold(1, factor, factor).mean((-2, -1)).flatten() >= 0.5
            for mask in (pair.target_mask, pair.reference_mask)
        )
        edited = features.clone()
        for p in range(features.shape[1]):
            if not inside[p]:
                continue
            if injection is Injection.STRUCTURE:
                edited[:, p] = structure[name][:, p]
                continue
            cosine = torch.nn.functional.cosine_similarity(features[-1, p][None], reference[name][-1])
            candidates = [q for q in range(len(cosine)) if allowed[q]]
            best = max(candidates, key=lambda q: float(cosine[q]))
            edited[:, p] = reference[name][:, best]
        return edited

    return edit


@pytest.fixture(scope="module", params=[tiny_models, tiny_sd15_models], ids=["sdxl", "sd15"])
def backbone64(request: pytest.FixtureRequest) -> Models:
    made: Models = request.param(dtype=torch.float64)
    return made


@pytest.mark.parametrize("guidance_scale", [1.0, 2.5])
@pytest.mark.parametrize("eta", [1.0, 0.4])
def test_one_call_per_step_equals_inversion_and_replay(backbone64: Models, guidance_scale: float, eta: float) -> None:
    models64, pair = backbone64, make_pair(torch.float64)
    steps = make_steps(models64.alphas_cumprod, num_steps=PLAIN.num_steps, strength=PLAIN.strength)
    plan = plan_steps(steps, PLAIN, inject=True)
    assert {planned.injection for planned in plan} == set(Injection)
    ours = one_stage(models64, pair, plan, guidance_scale, eta)
    slow = two_stage(models64, pair, plan, guidance_scale, eta)
    assert (ours - pair.target).abs().max() > 1e-3
    torch.testing.assert_close(ours, slow, rtol=0, atol=1e-10)


def test_in_float32_the_two_differ_by_rounding_only(models: Models) -> None:
    pair = make_pair(torch.float32)
    steps = make_steps(models.alphas_cumprod, num_steps=PLAIN.num_steps, strength=PLAIN.strength)
    plan = plan_steps(steps, PLAIN, inject=True)
    torch.testing.assert_close(
        one_stage(models, pair, plan, 1.0, 1.0), two_stage(models, pair, plan, 1.0, 1.0), rtol=0, atol=1e-3
    )


@pytest.mark.parametrize("guidance_scale", [1.0, 3.5])
def test_without_rearrangement_the_target_is_reconstructed(models64: Models, guidance_scale: float) -> None:
    """With guidance on too: every row sees the same prompt, scale and sizes."""
    pair = make_pair(torch.float64, masked=False)
    steps = make_steps(models64.alphas_cumprod, num_steps=12, strength=1.0)
    plan = [PlannedStep(step, Injection.NONE, 0.0, False) for step in steps]
    output = one_stage(models64, pair, plan, guidance_scale, 1.0)
    torch.testing.assert_close(output, pair.target, rtol=0, atol=1e-10)


def test_the_structure_row_is_the_same_whatever_is_injected(models64: Models) -> None:
    """Never edited: its prediction with the output row rearranged beside it is the one it has alone."""
    pair = make_pair(torch.float64)
    injection = FeatureInjection([InjectedRegion(pair.target_mask, pair.reference_mask)])
    predict = predictor(models64, 2.5)
    rows = torch.cat([pair.target + 1.0, pair.reference, pair.target])
    alone = predict(pair.target, 400)
    injection.mode = Injection.MATCHED
    with patched(models64.unet, select_layers(models64.unet, models64.backbone.injection_layers), injection):
        together = predict(rows, 400)
    torch.testing.assert_close(together[2:], alone, rtol=0, atol=1e-10)
    torch.testing.assert_close(together[1:2], predict(pair.reference, 400), rtol=0, atol=1e-10)
    assert (together[:1] - predict(rows[:1], 400)).abs().max() > 1e-3
