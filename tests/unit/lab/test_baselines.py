"""Methods on tiny networks: what arithmetic demands of them, whatever the weights."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from core.injection import Injected
from core.models.noise import make_steps
from core.params.transfer import MatchingParams, TransferParams, with_values
from core.pipeline import TransferInputs, transfer
from core.sampling.sampler import plan_steps
from lab.baselines import METHODS, Case
from lab.baselines.case import correspondence_at_tokens
from lab.baselines.guided import guided_filter
from lab.baselines.pictures import warped
from lab.baselines.settings import NOTHING_EDITED, SETTINGS
from lab.metrics.background import score_background
from lab.metrics.colour import score_colour
from lab.metrics.colour_space import lab_to_srgb, srgb_to_lab
from lab.metrics.matches import score_matches
from lab.pairs import Pair, make_pair, sample_pair
from lab.scenes import Category, Domain, sample_scene
from tests.tiny import tiny_models

SIDE = 64
PARAMS = TransferParams(num_inference_steps=4, strength=0.7, matching=MatchingParams(ensemble_size=1))


@pytest.fixture(scope="module")
def case() -> Case:
    return Case(tiny_models(), sample_pair(Domain.TUNING, 0, SIDE), PARAMS, seed=3)


@pytest.fixture(scope="module")
def same() -> Pair:
    """A scene and itself in other paint."""
    scene = sample_scene(Domain.TUNING, 9, Category.BIRD)
    return make_pair(scene, scene.wearing(sample_scene(Domain.TUNING, 15, Category.BIRD)), SIDE)


@pytest.mark.parametrize("name", list(METHODS))
def test_every_method_gives_a_picture_and_leaves_the_background(case: Case, name: str) -> None:
    result = METHODS[name](case)
    assert result.shape == (SIDE, SIDE, 3)
    assert result.dtype == np.uint8
    if name != "ours_without_masks":
        assert score_background(result, case.rendered).value == 99.0


def test_ours_is_what_the_service_computes(case: Case) -> None:
    inputs = TransferInputs(case.inputs.target, case.inputs.reference, case.masks)
    served = transfer(case.models, inputs, PARAMS, seed=case.seed)
    assert np.array_equal(METHODS["ours"](case), served.image.numpy())
    paper = with_values(PARAMS, {"matching.source": "per_layer"})
    served = transfer(case.models, inputs, paper, seed=case.seed)
    assert np.array_equal(METHODS["ours"](Case(case.models, case.pair, paper, case.seed)), served.image.numpy())


def test_without_any_edit_the_sampler_reconstructs_the_target(case: Case) -> None:
    plain = case.repaint(with_values(PARAMS, NOTHING_EDITED), case.own_correspondences)
    assert np.abs(plain.astype(int) - case.pair.target.image).max() <= 1


def test_published_ranges_fall_on_the_published_steps(case: Case) -> None:
    """Cross-Image Attention: swapped at 11..67 of its 68 steps, the structure's keys at 11, 16, ..., 36, AdaIN at
    20..67."""
    published = {"num_inference_steps": 100, "strength": 0.68, **SETTINGS["cross_image_attention"]}
    params = with_values(PARAMS, published)
    steps = make_steps(case.models.alphas_cumprod, num_inference_steps=100, strength=0.68)
    plan = plan_steps(steps, params, inject=True)
    assert [i for i, p in enumerate(plan) if p.injected is not Injected.NOTHING] == list(range(11, 68))
    assert [i for i, p in enumerate(plan) if p.injected is Injected.STRUCTURE] == [11, 16, 21, 26, 31, 36]
    assert [i for i, p in enumerate(plan) if p.adain] == list(range(20, 68))


def test_overrides_change_the_method_they_name(case: Case) -> None:
    """Moments that are never taken over: the method becomes the reconstruction, and another stays as it was."""
    changed = Case(case.models, case.pair, PARAMS, case.seed, overrides={"adain": {"latent.adain_range": (0.0, 0.0)}})
    plain = case.repaint(with_values(PARAMS, NOTHING_EDITED), case.own_correspondences)
    assert np.array_equal(METHODS["adain"](changed), plain)
    assert not np.array_equal(METHODS["adain"](case), plain)
    assert np.array_equal(METHODS["kv_injection"](changed), METHODS["kv_injection"](case))


def test_the_true_correspondence_is_the_truth_at_tokens(same: Pair) -> None:
    true = correspondence_at_tokens(same.correspondence, (16, 16))
    inside = (same.target.part[2::4, 2::4] > 0).ravel()
    assert np.array_equal(true.index.numpy()[inside], np.arange(256)[inside])
    other = sample_pair(Domain.TUNING, 0, 128)
    found = correspondence_at_tokens(other.correspondence, (32, 32))
    assert score_matches(other, found.index.numpy(), (32, 32)).pck_05 == 1.0
    assert int(found.index.min()) >= 0


def test_warping_by_the_identity_gives_the_reference_where_it_follows_the_guide(same: Pair) -> None:
    """With the true map of one pose, warped paint lies right; only the filter's smoothing remains."""
    case = Case(tiny_models(), same, PARAMS, seed=0)
    result = warped(case, case.true_correspondences)
    before = score_colour(same.target.image, same, 4.0).de2000.value
    assert score_colour(result, same, 4.0).de2000.value < 0.4 * before


def test_reinhard_gives_the_figure_the_references_moments(case: Case) -> None:
    """Both figures in muted colours, so that nothing is clipped."""
    pair = case.rendered
    muted = [replace(side, image=(96 + side.image // 4).astype(np.uint8)) for side in (pair.target, pair.reference)]
    moved = METHODS["reinhard"](Case(case.models, replace(pair, target=muted[0], reference=muted[1]), PARAMS, 0))
    own = srgb_to_lab(moved[pair.target.part > 0])
    other = srgb_to_lab(muted[1].image[pair.reference.part > 0])
    np.testing.assert_allclose(own.mean(0), other.mean(0), atol=0.5)
    np.testing.assert_allclose(own.std(0), other.std(0), atol=0.5)


def test_lab_and_back_is_the_same_colour() -> None:
    colours = np.random.default_rng(0).random((100, 3))
    np.testing.assert_allclose(lab_to_srgb(srgb_to_lab(colours)), colours, atol=1e-6)


def test_the_guided_filter_keeps_affine_functions_of_its_guide_and_smooths_the_rest() -> None:
    generator = torch.Generator().manual_seed(0)
    guide = torch.rand(3, 24, 24, generator=generator, dtype=torch.float64)
    mixed = torch.einsum("sg,ghw->shw", torch.rand(3, 3, generator=generator, dtype=torch.float64), guide) + 0.1
    everywhere = torch.ones(24, 24, dtype=torch.float64)
    kept = guided_filter(mixed, guide, everywhere, radius=4, epsilon=1e-9)
    torch.testing.assert_close(kept, mixed, rtol=0.0, atol=1e-5)
    flat = guided_filter(guide, torch.full_like(guide, 0.5), everywhere, radius=4, epsilon=1e-3)
    assert float(flat.std()) < 0.2 * float(guide.std())


def test_the_guided_filter_takes_nothing_from_outside_its_weight() -> None:
    source, guide = torch.zeros(3, 16, 16), torch.rand(3, 16, 16, generator=torch.Generator().manual_seed(1))
    source[:, :, 8:] = 1.0
    weight = torch.zeros(16, 16)
    weight[:, :8] = 1.0
    filtered = guided_filter(source, guide, weight, radius=3, epsilon=1e-3)
    assert float(filtered[:, :, :8].abs().max()) < 1e-5
