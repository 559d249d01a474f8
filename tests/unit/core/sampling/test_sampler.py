"""The sampler against a slow reading of the method: invert first, then replay, one row at a time, token by token."""

from collections.abc import Callable

import pytest
import torch

from core.injection import FeatureInjection, Injected
from core.models.models import Models, encode_prompt
from core.models.noise import NoiseDraws, Step, add_noise, make_steps, predict_clean, step_mean, step_sigma
from core.models.unet import NoisePredictor, SeedRows, make_predictor, patched, recorded, select_layers
from core.params.transfer import TransferParams, nested, with_values
from core.sampling.sampler import InjectedUnet, Start, plan_steps, sample
from core.sampling.trajectory import PlannedStep
from core.scene import Scene
from core.types import EncodedRegion
from tests.tiny import tiny_models, tiny_sd15_models
from tests.unit.core.scenes import make_scene

SIZE = (16, 24)
SEED = 11
PLAIN = TransferParams.model_validate(
    nested(
        {
            "num_inference_steps": 6,
            "strength": 0.9,
            "matching.source": "per_layer",
            "matching.neighbor_weight": 0.0,
            "latent.warp_strength": 0.0,
            "latent.reanchor_level": 0.0,
            "latent.adain_range": (0.0, 0.0),
        }
    )
)


def predictor(models: Models, guidance_scale: float) -> NoisePredictor:
    conditional = encode_prompt(models, "a bird", height=32, width=48)
    unconditional = None
    if guidance_scale != 1.0:
        unconditional = encode_prompt(models, "", height=32, width=48, negative=True)
    return make_predictor(models.unet, conditional, unconditional, guidance_scale)


def scene_of(models: Models, guidance_scale: float, *, masked: bool = True) -> Scene:
    """One region in the middle of the target."""
    generator, dtype = torch.Generator().manual_seed(3), models.trajectory_dtype
    target, reference = torch.randn(2, 1, 4, *SIZE, generator=generator, dtype=torch.float64).to(dtype)
    masks = torch.zeros(2, *SIZE, dtype=dtype) if masked else torch.ones(2, *SIZE, dtype=dtype)
    masks[0, 4:14, 4:20] = 1.0
    masks[1, 2:16, 0:16] = 1.0
    return make_scene(models, target, reference, (masks[0], masks[1]), predictor(models, guidance_scale))


def plan_of(models: Models, params: TransferParams) -> list[PlannedStep]:
    steps = make_steps(models.alphas_cumprod, num_inference_steps=params.num_inference_steps, strength=params.strength)
    return plan_steps(steps, params, inject=True)


def one_stage(scene: Scene, params: TransferParams) -> torch.Tensor:
    (sampled,) = sample(scene, [Start(SEED, None)], params)
    return sampled.latent


def two_stage(scene: Scene, plan: list[PlannedStep], params: TransferParams, seed: int) -> torch.Tensor:
    models, predict, target = scene.models, scene.predict, scene.target_latent
    (region,), eta = scene.regions, params.eta
    layers = select_layers(models.unet, models.backbone.injection_layers)

    def mean(noisy: torch.Tensor, output: torch.Tensor, step: Step) -> torch.Tensor:
        return step_mean(*predict_clean(noisy, output, step.alpha_bar, "epsilon"), step, eta)

    # First stage: the structure picture's trajectory, its noise maps, and its features at every step.
    draws = NoiseDraws(seed, row=0)
    noisy = add_noise(target, draws.like(target), plan[0].step.alpha_bar)
    start, maps, structure_features = noisy, [], []
    for planned in plan:
        with recorded(models.unet, layers) as seen:
            predicted = predict(noisy, planned.step.timestep)
        structure_features.append(dict(seen))
        following = add_noise(target, draws.like(target), planned.step.alpha_bar_prev)
        difference = following - mean(noisy, predicted, planned.step)
        sigma = step_sigma(planned.step, eta)
        maps.append(difference / sigma if sigma > 0 else difference)
        noisy = following

    # Second stage: replay, with the reference noised beside it and every token matched in a loop.
    draws = NoiseDraws(seed, row=1)
    reference = add_noise(region.reference_latent, draws.like(region.reference_latent), plan[0].step.alpha_bar)
    structure_draws = NoiseDraws(seed, row=0)
    structure_draws.like(target)
    output = start
    for planned, noise_map, structure in zip(plan, maps, structure_features, strict=True):
        step = planned.step
        with recorded(models.unet, layers) as seen:
            predict(reference, step.timestep)
        edit = slow_edit(planned.injected, dict(seen), structure, region)
        with patched(models.unet, layers, edit):
            predicted = predict(output, step.timestep)
        sigma = step_sigma(step, eta)
        output = mean(output, predicted, step) + (sigma * noise_map if sigma > 0 else noise_map)
        reference = add_noise(region.reference_latent, draws.like(region.reference_latent), step.alpha_bar_prev)
        background = add_noise(target, structure_draws.like(target), step.alpha_bar_prev)
        output = torch.where(region.target_latent_mask > 0.5, output, background)
    return output


def slow_edit(
    injected: Injected, reference: dict[str, torch.Tensor], structure: dict[str, torch.Tensor], region: EncodedRegion
) -> Callable[[str, torch.Tensor], torch.Tensor]:
    def edit(name: str, features: torch.Tensor) -> torch.Tensor:
        if injected is Injected.NOTHING:
            return features
        factor = int((region.target_latent_mask.numel() / features.shape[1]) ** 0.5)
        inside, allowed = (
            mask.unfold(0, factor, factor).unfold(1, factor, factor).mean((-2, -1)).flatten() >= 0.5
            for mask in (region.target_latent_mask, region.reference_latent_mask)
        )
        edited = features.clone()
        for p in range(features.shape[1]):
            if not inside[p]:
                continue
            if injected is Injected.STRUCTURE:
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
    scene, params = scene_of(backbone64, guidance_scale), with_values(PLAIN, {"eta": eta})
    plan = plan_of(backbone64, params)
    assert {planned.injected for planned in plan} == set(Injected)
    ours = one_stage(scene, params)
    slow = two_stage(scene, plan, params, SEED)
    assert (ours - scene.target_latent).abs().max() > 1e-3
    torch.testing.assert_close(ours, slow, rtol=0, atol=1e-10)


def test_in_float32_the_two_differ_by_rounding_only(models: Models) -> None:
    scene = scene_of(models, 1.0)
    ours, slow = one_stage(scene, PLAIN), two_stage(scene, plan_of(models, PLAIN), PLAIN, SEED)
    torch.testing.assert_close(ours, slow, rtol=0, atol=1e-3)


@pytest.mark.parametrize("guidance_scale", [1.0, 3.5])
def test_without_rearrangement_the_target_is_reconstructed(models64: Models, guidance_scale: float) -> None:
    """With guidance on too: every row gets the same prompt, scale and sizes."""
    scene = scene_of(models64, guidance_scale, masked=False)
    nothing = with_values(PLAIN, {"num_inference_steps": 12, "strength": 1.0, "injection.layers": ()})
    torch.testing.assert_close(one_stage(scene, nothing), scene.target_latent, rtol=0, atol=1e-10)


def test_the_structure_row_is_the_same_whatever_is_injected(models64: Models) -> None:
    """Never edited: its prediction with the output row rearranged beside it is the one it has alone."""
    scene = scene_of(models64, 2.5)
    predict, target, reference = scene.predict, scene.target_latent, scene.regions[0].reference_latent
    layers = select_layers(models64.unet, models64.backbone.injection_layers)
    injection = FeatureInjection(scene.regions, scene.latent_size, 1.0, PLAIN.matching)
    unet = InjectedUnet(scene, layers, injection, PLAIN.injection, ())
    matched = next(planned for planned in plan_of(models64, PLAIN) if planned.injected is Injected.MATCHED)
    timestep = matched.step.timestep
    output = target + 1.0
    (together,) = unet.predict(matched, [SeedRows(output, (reference,), target)], [(None,)]).predicted
    torch.testing.assert_close(together.structure, predict(target, timestep), rtol=0, atol=1e-10)
    torch.testing.assert_close(together.references[0], predict(reference, timestep), rtol=0, atol=1e-10)
    assert (together.output - predict(output, timestep)).abs().max() > 1e-3
