"""The renderer: repeatable, with canonical coordinates that really carry a part's looks from one scene to another."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from lab.scenes import (
    PART_ID,
    Category,
    Domain,
    Scene,
    describe,
    render,
    sample_scene,
    stream,
    training_caption,
    true_correspondence,
)
from lab.scenes.parts import PARTS
from lab.train.tokens import caption_words


def test_a_seed_always_gives_the_same_picture() -> None:
    first, second = (render(sample_scene(Domain.TRAINING, 7), 64) for _ in range(2))
    assert np.array_equal(first.image, second.image)
    assert np.array_equal(first.uv, second.uv)


def test_domains_never_share_a_scene() -> None:
    pictures = {render(sample_scene(domain, seed), 24).image.tobytes() for domain in Domain for seed in range(8)}
    assert len(pictures) == len(Domain) * 8


@pytest.mark.parametrize("category", list(Category))
def test_every_category_shows_its_parts_at_any_size(category: Category) -> None:
    scene = sample_scene(Domain.TUNING, 3, category)
    for size in (64, 256):
        rendering = render(scene, size)
        assert rendering.image.shape == (size, size, 3)
        shown = {PARTS[part].name for part in np.unique(rendering.part)} - {"background"}
        assert len(shown) >= 4
        assert shown <= {part.kind.name for part in scene.parts}
        assert ((rendering.part > 0) == (rendering.coverage >= 0.5)).mean() > 0.98


@pytest.mark.parametrize("category", list(Category))
def test_canonical_coordinates_stay_in_their_range(category: Category) -> None:
    rendering = render(sample_scene(Domain.TUNING, 11, category), 96)
    assert np.abs(rendering.uv).max() <= 1.3
    assert np.all(rendering.uv[rendering.part == 0] == 0.0)


def test_pose_and_mirror_keep_the_canonical_coordinates() -> None:
    """A self-pair under another pose corresponds everywhere, and the map carries part and coordinates over."""
    scene, moved = _plain_and_moved()
    here, there = render(scene, 128), render(moved, 128)
    true = true_correspondence(here, there)
    figure = here.part > 0
    assert true.visible[figure].mean() > 0.98
    assert np.array_equal(there.part[true.row[true.visible], true.column[true.visible]], here.part[true.visible])


@pytest.mark.parametrize("category", list(Category))
def test_warping_by_the_true_correspondence_gives_the_truth(category: Category) -> None:
    """Reference pixels pulled to the target show the truth up to light and sampling."""
    target, reference = (sample_scene(Domain.TUNING, seed, category) for seed in (21, 22))
    here, there = render(target, 256), render(reference, 256)
    truth = render(target.wearing(reference), 256).image
    true = true_correspondence(here, there)
    seen = true.visible & _inside_parts(here.part)
    warped = there.image[true.row[seen], true.column[seen]]
    expected, before = truth[seen], here.image[seen]
    assert _chroma_error(warped, expected) < 0.06
    assert _chroma_error(before, expected) > 2.0 * _chroma_error(warped, expected)


@pytest.mark.parametrize("mirror", [False, True])
def test_the_chimney_shows_which_way_round_a_house_is(mirror: bool) -> None:
    """Its two windows look alike, so without it nobody could know which of them is the front one."""
    for seed in range(12):
        scene = sample_scene(Domain.TUNING, seed, Category.HOUSE)
        part = render(replace(scene, pose=replace(scene.pose, rotation=0.0, mirror=mirror)), 64).part
        chimney, gable = (np.nonzero(part == PART_ID[name])[1].mean() for name in ("chimney", "gable"))
        assert (chimney > gable) == mirror


def test_the_truth_keeps_geometry_and_background() -> None:
    target, reference = (sample_scene(Domain.TUNING, seed, Category.FISH) for seed in (1, 2))
    own, truth = render(target, 96), render(target.wearing(reference), 96)
    assert np.array_equal(own.part, truth.part)
    assert np.array_equal(own.image[own.coverage == 0.0], truth.image[own.coverage == 0.0])
    assert np.array_equal(render(target.wearing(target), 96).image, own.image)


def test_parts_with_one_name_correspond_across_categories() -> None:
    fish, bird = (render(sample_scene(Domain.TUNING, 4, kind), 96) for kind in (Category.FISH, Category.BIRD))
    true = true_correspondence(fish, bird)
    head = fish.part == PART_ID["head"]
    assert true.visible[head].mean() > 0.3
    assert not true.visible[fish.part == PART_ID["dorsal fin"]].any()


def test_captions_name_the_category_and_use_known_words() -> None:
    vocabulary = set(caption_words())
    for seed in range(60):
        scene = sample_scene(Domain.TUNING, seed)
        caption = describe(scene)
        assert str(scene.category) in caption.split()
        for sentence in (caption, training_caption(scene, stream(Domain.TUNING, seed, "caption"))):
            assert set(sentence.replace(",", " ,").split()) <= vocabulary
            assert len(sentence.replace(",", " ,").split()) <= 75


def _plain_and_moved() -> tuple[Scene, Scene]:
    """A bird, and the same bird elsewhere, larger, turned and mirrored."""
    scene = sample_scene(Domain.TUNING, 5, Category.BIRD)
    pose = replace(scene.pose, span=0.9, rotation=scene.pose.rotation + 0.8, mirror=not scene.pose.mirror)
    return scene, replace(scene, pose=pose)


def _inside_parts(part: NDArray[np.uint8], margin: int = 4) -> NDArray[np.bool_]:
    """Pixels whose neighbours within `margin` belong to the same part: away from outlines, which are darker."""
    inside = part > 0
    for shift in range(-margin, margin + 1):
        for axis in (0, 1):
            inside &= np.roll(part, shift, axis) == part
    return inside


def _chroma_error(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> float:
    """Mean difference of the colours' shares of the brightness, which light does not change."""
    shares = [
        pixels / np.maximum(pixels.astype(np.float64).sum(axis=-1, keepdims=True), 30.0) for pixels in (first, second)
    ]
    return float(np.abs(shares[0] - shares[1]).mean())
