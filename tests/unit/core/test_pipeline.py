"""Whole transfers of tiny networks, and matches alone."""

import threading

import pytest
import torch

from core.errors import EmptyMaskError, NonFiniteError, UnknownLayerError
from core.injection import Injected
from core.masks.regions import Masks
from core.matching.correspondence import GRID_SIDE
from core.models.models import Models
from core.models.noise import make_steps
from core.params.transfer import TransferParams, nested, with_values
from core.pipeline import Preview, TransferInputs, TransferResult, match, transfer, transfer_variants
from core.sampling.sampler import plan_steps
from tests.tiny import tiny_models

Pictures = tuple[torch.Tensor, torch.Tensor]
FAST = TransferParams.model_validate(nested({"num_inference_steps": 3, "strength": 1.0, "matching.ensemble_size": 1}))
SEEDS = [5, 9, 11]


def changed(values: dict[str, object]) -> TransferParams:
    """By dotted names."""
    return with_values(FAST, values)


@pytest.mark.parametrize(
    "params",
    [
        FAST,
        changed({"guidance_scale": 2.5}),
        changed({"matching.source": "per_layer"}),
        changed({"matching.source": "per_layer", "guidance_scale": 2.5}),
        changed({"injection.layers": ()}),
        changed({"matching.source": "per_layer", "injection.layers": ()}),
        changed({"latent.warp_strength": 0.0, "latent.adain_range": (0, 0)}),
        changed(
            {
                "injection.mode": "cross_image",
                "injection.contrast_strength": 1.67,
                "injection.swap_guidance_scale": 3.5,
                "guidance_scale": 2.5,
            }
        ),
        changed({"injection.mode": "ctrl_x", "noise.mode": "forward", "injection.layers": ["down_blocks.2"]}),
        changed({"injection.mode": "block_output", "matching.source": "per_layer", "freeu.b1": 1.3, "freeu.s2": 0.2}),
    ],
)
def test_the_result_has_the_targets_size_and_a_map(models: Models, pictures: Pictures, params: TransferParams) -> None:
    result = transfer(models, TransferInputs(*pictures, prompt="a bird"), params, seed=1)
    assert result.image.shape == (60, 88, 3)
    assert result.image.dtype == torch.uint8
    assert set(result.timings) == {"select", "prepare", "encode", "correspond", "sample", "finish"}
    rows, columns = result.matches.similarity.shape
    assert (rows, columns) == (44, 64)
    assert result.matches.positions.shape == (rows, columns, 2)
    assert result.matches.positions.min() >= 0.0
    assert result.matches.positions.max() <= 1.0
    assert result.matches.similarity.abs().max() <= 1.001


def test_the_same_seed_makes_the_same_bytes_and_another_seed_does_not(models: Models, pictures: Pictures) -> None:
    first = transfer(models, TransferInputs(*pictures), FAST, seed=5)
    again = transfer(models, TransferInputs(*pictures), FAST, seed=5)
    other = transfer(models, TransferInputs(*pictures), FAST, seed=6)
    assert torch.equal(first.image, again.image)
    assert torch.equal(first.matches.positions, again.matches.positions)
    assert not torch.equal(first.image, other.image)


def test_a_cancelled_run_leaves_no_trace_in_the_next(models: Models, pictures: Pictures) -> None:
    expected = transfer(models, TransferInputs(*pictures), FAST, seed=5)

    def stop(step: int, steps: int, preview: object) -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        transfer(models, TransferInputs(*pictures), FAST, seed=9, on_step=stop)
    assert torch.equal(transfer(models, TransferInputs(*pictures), FAST, seed=5).image, expected.image)


def test_progress_counts_every_step_and_previews_are_made_on_demand(models: Models, pictures: Pictures) -> None:
    seen: list[tuple[int, int, tuple[int, ...]]] = []

    def keep(step: int, steps: int, preview: Preview) -> None:
        seen.append((step, steps, tuple(preview().shape)))

    transfer(models, TransferInputs(*pictures), FAST, seed=0, on_step=keep)
    assert seen == [(1, 3, (60, 88, 3)), (2, 3, (60, 88, 3)), (3, 3, (60, 88, 3))]


def test_outside_the_mask_the_targets_bytes_stay(models: Models, pictures: Pictures) -> None:
    target, reference = (pictures[0] * 255).round() / 255, pictures[1]
    mask = torch.zeros(60, 88)
    mask[20:40, 30:70] = 1.0
    result: TransferResult = transfer(models, TransferInputs(target, reference, Masks(target=mask)), FAST, seed=0)
    original = (target * 255).round().to(torch.uint8).permute(1, 2, 0)
    assert torch.equal(result.image[mask == 0], original[mask == 0])
    assert (result.image[mask == 1].int() - original[mask == 1].int()).abs().max() > 10


def test_transparent_surroundings_are_not_repainted(models: Models, pictures: Pictures) -> None:
    alpha = torch.zeros(1, 60, 88)
    alpha[:, 10:50, 10:70] = 1.0
    target = torch.cat([(pictures[0] * 255).round() / 255, alpha])
    result = transfer(models, TransferInputs(target, pictures[1]), FAST, seed=0)
    assert result.image.shape == (60, 88, 4)
    assert torch.equal(result.image[..., 3], (alpha[0] * 255).to(torch.uint8))
    assert not result.matches.inside.all()


def test_positions_are_fractions_of_the_reference_picture_not_of_the_canvas(models: Models, pictures: Pictures) -> None:
    """A tall reference fills a strip of the canvas; matches still reach over its whole width."""
    each_for_itself = changed({"matching.global_affine_weight": 0.0})  # noise has no figure that one map could fit
    result = transfer(models, TransferInputs(pictures[0], torch.rand(3, 200, 60)), each_for_itself, seed=0)
    x = result.matches.positions[..., 0]
    assert x.min() < 0.3
    assert x.max() > 0.7


def test_errors_name_what_is_wrong(models: Models, pictures: Pictures) -> None:
    with pytest.raises(EmptyMaskError):
        transfer(models, TransferInputs(*pictures, Masks(target=torch.zeros(60, 88))), FAST, seed=0)
    with pytest.raises(UnknownLayerError):
        transfer(models, TransferInputs(*pictures), changed({"injection.layers": ["up_blocks.7"]}), seed=0)


@pytest.mark.parametrize(
    "params",
    [
        FAST,
        changed({"guidance_scale": 2.5, "matching.mirrored": True}),
        changed({"matching.landmarks": [{"target": [0.2, 0.2], "reference": [0.8, 0.8]}]}),
    ],
)
def test_matches_alone_are_those_that_a_transfer_paints_from(
    models: Models, pictures: Pictures, params: TransferParams
) -> None:
    inputs = TransferInputs(*pictures, prompt="a bird")
    alone = match(models, inputs, params, seed=3)
    painted = transfer(models, inputs, params, seed=3)
    for name in ("positions", "similarity", "inside"):
        assert torch.equal(getattr(alone.matches, name), getattr(painted.matches, name)), name
    assert set(alone.timings) == {"select", "prepare", "encode", "correspond"}
    assert alone.seed == 3


def test_one_shot_matching_serves_where_layers_would_match_for_themselves(models: Models, pictures: Pictures) -> None:
    alone = match(models, TransferInputs(*pictures), changed({"matching.source": "per_layer"}), seed=3)
    assert torch.equal(
        alone.matches.positions, match(models, TransferInputs(*pictures), FAST, seed=3).matches.positions
    )


def test_a_network_that_breaks_down_makes_no_map(pictures: Pictures) -> None:
    broken = tiny_models()
    broken.unet.conv_in.bias.data.fill_(float("nan"))
    with pytest.raises(NonFiniteError):
        match(broken, TransferInputs(*pictures), FAST, seed=0)


def test_a_network_that_breaks_down_makes_no_picture(pictures: Pictures) -> None:
    broken = tiny_models()
    broken.unet.conv_out.bias.data.fill_(float("nan"))
    with pytest.raises(NonFiniteError):
        transfer(broken, TransferInputs(*pictures), FAST, seed=0)


def test_phases_are_timed_by_the_clock_that_is_given(models: Models, pictures: Pictures) -> None:
    ticks = iter(range(100))
    result = transfer(models, TransferInputs(*pictures), FAST, seed=0, clock=lambda: float(next(ticks)))
    assert set(result.timings.values()) == {1000.0}


def test_other_threads_do_not_change_the_result(models: Models, pictures: Pictures) -> None:
    """Draws come from the job's own generators, not from torch's global one."""
    expected = transfer(models, TransferInputs(*pictures), FAST, seed=2).image
    stop = threading.Event()

    def disturb() -> None:
        while not stop.is_set():
            torch.randn(10)

    thread = threading.Thread(target=disturb)
    thread.start()
    try:
        assert torch.equal(transfer(models, TransferInputs(*pictures), FAST, seed=2).image, expected)
    finally:
        stop.set()
        thread.join()


@pytest.mark.parametrize("preset", ["paper", "paper-sd15"])
def test_the_papers_plan_falls_on_the_papers_steps(models: Models, preset: str) -> None:
    """Injection at i = 11..67, structure again at 11, 16, ..., 36, AdaIN at 49..67 (its 68 steps from t = 671)."""
    paper = TransferParams.model_validate({"preset": preset}).resolved()
    count = paper.num_inference_steps
    steps = make_steps(models.alphas_cumprod, num_inference_steps=count, strength=paper.strength)
    assert [step.timestep for step in (steps[0], steps[-1])] == [671, 1]
    plan = plan_steps(steps, paper, inject=True)
    assert [i for i, p in enumerate(plan) if p.injected is not Injected.NOTHING] == list(range(11, 68))
    assert [i for i, p in enumerate(plan) if p.injected is Injected.STRUCTURE] == [11, 16, 21, 26, 31, 36]
    assert [i for i, p in enumerate(plan) if p.adain] == list(range(49, 68))


def test_a_reference_that_looks_the_other_way_is_matched_as_its_mirror_image(models: Models) -> None:
    """A picture against its own mirror image: every token finds its counterpart on the other side."""
    picture = (
        torch.rand(3, 8, 8, generator=torch.Generator().manual_seed(1)).repeat_interleave(8, 1).repeat_interleave(8, 2)
    )
    params = changed({"matching.noise_level": 0.0, "matching.mirrored": True})
    flipped = transfer(models, TransferInputs(picture, picture.flip(-1)), params, seed=0).matches
    upright = transfer(models, TransferInputs(picture, picture), params, seed=0).matches
    x = (torch.arange(GRID_SIDE) + 0.5) / GRID_SIDE
    assert (flipped.positions[..., 0] - (1.0 - x)).abs().mean() < 0.02
    assert (upright.positions[..., 0] - x).abs().mean() < 0.02


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"matching.source": "per_layer", "guidance_scale": 2.0},
        {"matching.source": "per_step", "guidance_scale": 2.0, "injection.mode": "kv"},
        {
            "injection.mode": "cross_image",
            "injection.contrast_strength": 1.5,
            "injection.swap_guidance_scale": 2.0,
        },
        {"injection.mode": "block_output", "noise.mode": "forward", "matching.source": "per_layer"},
    ],
)
def test_variants_are_what_their_seeds_make_alone(
    models64: Models, pictures: Pictures, values: dict[str, object]
) -> None:
    params = changed({"num_inference_steps": 4, **values})
    given = (models64, TransferInputs(*pictures), params)
    together = transfer_variants(*given, seeds=SEEDS)
    assert [result.seed for result in together] == SEEDS
    for result in together:
        alone = transfer(*given, seed=result.seed)
        assert (result.image.int() - alone.image.int()).abs().max() <= 1
        assert torch.equal(result.matches.positions, alone.matches.positions)
    assert not torch.equal(together[0].image, together[1].image)


def test_a_preset_runs_as_its_values_do(models: Models, pictures: Pictures) -> None:
    """Without anybody having resolved it."""
    inputs, preset = TransferInputs(*pictures), changed({"preset": "few-steps"})
    values = changed({"timestep_spacing": "trailing", "guidance_scale": 1.0})
    assert torch.equal(transfer(models, inputs, preset, seed=1).image, transfer(models, inputs, values, seed=1).image)
    assert not torch.equal(transfer(models, inputs, FAST, seed=1).image, transfer(models, inputs, values, seed=1).image)
