import threading

import pytest
import torch

from core.errors import EmptyMaskError, NonFiniteError, UnknownLayerError
from core.injection import Injection
from core.masks.regions import Masks
from core.models.models import Models
from core.models.noise import make_steps
from core.params.transfer import TransferParams
from core.pipeline import TransferResult, match, transfer
from core.sampling.sampler import plan_steps
from tests.tiny import tiny_models

Pictures = tuple[torch.Tensor, torch.Tensor]
FAST = TransferParams(num_steps=3, strength=1.0, match_draws=1)


def changed(params: TransferParams, **knobs: object) -> TransferParams:
    return TransferParams.model_validate({**params.model_dump(), **knobs})


@pytest.mark.parametrize(
    "params",
    [
        FAST,
        changed(FAST, guidance_scale=2.5),
        changed(FAST, match_source="layer"),
        changed(FAST, match_source="layer", guidance_scale=2.5),
        changed(FAST, injection_layers=()),
        changed(FAST, match_source="layer", injection_layers=()),
        changed(FAST, clean_latent_strength=0.0, adain_range=(0, 0)),
        changed(
            FAST, injection_mode="cross_image", attention_contrast=1.67, injection_guidance=3.5, guidance_scale=2.5
        ),
        changed(FAST, injection_mode="soft_statistics", noise_mode="forward", injection_layers=["down_blocks.2"]),
        changed(FAST, injection_mode="block_output", match_source="layer", freeu_b1=1.3, freeu_s2=0.2),
    ],
)
def test_the_result_has_the_targets_size_and_a_map(models: Models, pictures: Pictures, params: TransferParams) -> None:
    result = transfer(models, *pictures, params, prompt="a bird", seed=1)
    assert result.image.shape == (60, 88, 3)
    assert result.image.dtype == torch.uint8
    assert set(result.timings) == {"select", "prepare", "encode", "correspond", "sample", "finish"}
    rows, columns = result.matches.similarity.shape
    assert (rows, columns) == (14, 20)
    assert result.matches.positions.shape == (rows, columns, 2)
    assert result.matches.positions.min() >= 0.0
    assert result.matches.positions.max() <= 1.0
    assert result.matches.similarity.abs().max() <= 1.001


def test_the_same_seed_makes_the_same_bytes_and_another_seed_does_not(models: Models, pictures: Pictures) -> None:
    first = transfer(models, *pictures, FAST, seed=5)
    again = transfer(models, *pictures, FAST, seed=5)
    other = transfer(models, *pictures, FAST, seed=6)
    assert torch.equal(first.image, again.image)
    assert torch.equal(first.matches.positions, again.matches.positions)
    assert not torch.equal(first.image, other.image)


def test_a_cancelled_run_leaves_no_trace_in_the_next(models: Models, pictures: Pictures) -> None:
    expected = transfer(models, *pictures, FAST, seed=5)

    def stop(step: int, steps: int, preview: object) -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        transfer(models, *pictures, FAST, seed=9, on_step=stop)
    assert torch.equal(transfer(models, *pictures, FAST, seed=5).image, expected.image)


def test_progress_counts_every_step_and_previews_are_made_on_demand(models: Models, pictures: Pictures) -> None:
    seen: list[tuple[int, int, tuple[int, ...]]] = []
    transfer(models, *pictures, FAST, seed=0, on_step=lambda i, n, preview: seen.append((i, n, tuple(preview().shape))))
    assert seen == [(1, 3, (28, 40, 3)), (2, 3, (28, 40, 3)), (3, 3, (28, 40, 3))]


def test_outside_the_mask_the_targets_bytes_stay(models: Models, pictures: Pictures) -> None:
    target, reference = (pictures[0] * 255).round() / 255, pictures[1]
    mask = torch.zeros(60, 88)
    mask[20:40, 30:70] = 1.0
    result: TransferResult = transfer(models, target, reference, FAST, masks=Masks(target=mask), seed=0)
    original = (target * 255).round().to(torch.uint8).permute(1, 2, 0)
    assert torch.equal(result.image[mask == 0], original[mask == 0])
    assert (result.image[mask == 1].int() - original[mask == 1].int()).abs().max() > 10


def test_transparent_surroundings_are_not_repainted(models: Models, pictures: Pictures) -> None:
    alpha = torch.zeros(1, 60, 88)
    alpha[:, 10:50, 10:70] = 1.0
    target = torch.cat([(pictures[0] * 255).round() / 255, alpha])
    result = transfer(models, target, pictures[1], FAST, seed=0)
    assert result.image.shape == (60, 88, 4)
    assert torch.equal(result.image[..., 3], (alpha[0] * 255).to(torch.uint8))
    assert not result.matches.inside.all()


def test_positions_are_fractions_of_the_reference_picture_not_of_the_canvas(models: Models, pictures: Pictures) -> None:
    """A tall reference fills a strip of the canvas; matches still reach over its whole width."""
    each_for_itself = changed(FAST, match_rigidity=0.0)  # noise has no figure that one map could fit
    result = transfer(models, pictures[0], torch.rand(3, 200, 60), each_for_itself, seed=0)
    x = result.matches.positions[..., 0]
    assert x.min() < 0.3
    assert x.max() > 0.7


def test_errors_name_what_is_wrong(models: Models, pictures: Pictures) -> None:
    with pytest.raises(EmptyMaskError):
        transfer(models, *pictures, FAST, masks=Masks(target=torch.zeros(60, 88)), seed=0)
    with pytest.raises(UnknownLayerError):
        transfer(models, *pictures, changed(FAST, injection_layers=["up_blocks.7"]), seed=0)


@pytest.mark.parametrize(
    "params",
    [
        FAST,
        changed(FAST, guidance_scale=2.5, match_mirrored=True),
        changed(FAST, pins=[{"target": [0.2, 0.2], "reference": [0.8, 0.8]}]),
    ],
)
def test_matches_alone_are_those_that_a_transfer_paints_from(
    models: Models, pictures: Pictures, params: TransferParams
) -> None:
    alone = match(models, *pictures, params, prompt="a bird", seed=3)
    painted = transfer(models, *pictures, params, prompt="a bird", seed=3)
    for name in ("positions", "similarity", "inside"):
        assert torch.equal(getattr(alone.matches, name), getattr(painted.matches, name)), name
    assert set(alone.timings) == {"select", "prepare", "encode", "correspond"}
    assert alone.seed == 3


def test_one_look_answers_where_layers_would_match_for_themselves(models: Models, pictures: Pictures) -> None:
    alone = match(models, *pictures, changed(FAST, match_source="layer"), seed=3)
    assert torch.equal(alone.matches.positions, match(models, *pictures, FAST, seed=3).matches.positions)


def test_a_network_that_breaks_down_makes_no_map(pictures: Pictures) -> None:
    broken = tiny_models()
    broken.unet.conv_in.bias.data.fill_(float("nan"))
    with pytest.raises(NonFiniteError):
        match(broken, *pictures, FAST, seed=0)


def test_a_network_that_breaks_down_makes_no_picture(pictures: Pictures) -> None:
    broken = tiny_models()
    broken.unet.conv_out.bias.data.fill_(float("nan"))
    with pytest.raises(NonFiniteError):
        transfer(broken, *pictures, FAST, seed=0)


def test_phases_are_timed_by_the_clock_that_is_given(models: Models, pictures: Pictures) -> None:
    ticks = iter(range(100))
    result = transfer(models, *pictures, FAST, seed=0, clock=lambda: float(next(ticks)))
    assert set(result.timings.values()) == {1000.0}


def test_other_threads_do_not_change_the_result(models: Models, pictures: Pictures) -> None:
    """Draws come from the job's own generators, not from torch's global one."""
    expected = transfer(models, *pictures, FAST, seed=2).image
    stop = threading.Event()

    def disturb() -> None:
        while not stop.is_set():
            torch.randn(10)

    thread = threading.Thread(target=disturb)
    thread.start()
    try:
        assert torch.equal(transfer(models, *pictures, FAST, seed=2).image, expected)
    finally:
        stop.set()
        thread.join()


@pytest.mark.parametrize("preset", ["paper", "paper-sd15"])
def test_the_papers_plan_falls_on_the_papers_steps(models: Models, preset: str) -> None:
    """Injection at i = 11..67, structure again at 11, 16, ..., 36, AdaIN at 49..67 (its 68 steps from t = 671)."""
    paper = TransferParams.model_validate({"preset": preset})
    steps = make_steps(models.alphas_cumprod, num_steps=paper.num_steps, strength=paper.strength)
    assert [step.timestep for step in (steps[0], steps[-1])] == [671, 1]
    plan = plan_steps(steps, paper, inject=True)
    assert [i for i, p in enumerate(plan) if p.injection is not Injection.NONE] == list(range(11, 68))
    assert [i for i, p in enumerate(plan) if p.injection is Injection.STRUCTURE] == [11, 16, 21, 26, 31, 36]
    assert [i for i, p in enumerate(plan) if p.adain] == list(range(49, 68))


def test_a_reference_that_looks_the_other_way_is_matched_as_its_mirror_image(models: Models) -> None:
    """A picture against its own mirror image: every token finds its counterpart on the other side."""
    picture = (
        torch.rand(3, 8, 8, generator=torch.Generator().manual_seed(1)).repeat_interleave(8, 1).repeat_interleave(8, 2)
    )
    params = changed(FAST, match_noise_level=0.0, match_mirrored=True)
    flipped = transfer(models, picture, picture.flip(-1), params, seed=0).matches
    upright = transfer(models, picture, picture, params, seed=0).matches
    x = (torch.arange(16) + 0.5) / 16
    assert (flipped.positions[..., 0] - (1.0 - x)).abs().mean() < 0.02
    assert (upright.positions[..., 0] - x).abs().mean() < 0.02
