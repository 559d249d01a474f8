"""Pairs of scenes to transfer between, drawn from a seed domain, in four sets."""

from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np

from lab.scenes import (
    Category,
    Domain,
    Rendering,
    Scene,
    TrueCorrespondence,
    render,
    sample_scene,
    stream,
    true_correspondence,
)
from lab.scenes.scene import sample_pose

CROSS = (
    (Category.BIRD, Category.FISH),
    (Category.FISH, Category.BIRD),
    (Category.BIRD, Category.QUADRUPED),
    (Category.QUADRUPED, Category.BIRD),
    (Category.FISH, Category.QUADRUPED),
    (Category.QUADRUPED, Category.FISH),
)
"""Pairs of categories with part names in common: (target, reference)."""


class PairSet(StrEnum):
    """How the two scenes of a pair relate."""

    SAME = "same"
    """One category, independent poses."""
    CROSS = "cross"
    """Two categories that share part names."""
    ALIGNED = "aligned"
    """One category, both upright, facing one way, of one size."""
    UNALIGNED = "unaligned"
    """One category, mirrored, turned apart by more than 30 degrees, twice the size."""


@dataclass(frozen=True)
class Pair:
    """A target, a reference, and the truth of the transfer, at one size."""

    target_scene: Scene
    reference_scene: Scene
    target: Rendering
    reference: Rendering
    truth: Rendering
    correspondence: TrueCorrespondence


def sample_pair(domain: Domain, seed: int, size: int, kind: PairSet = PairSet.SAME) -> Pair:
    """The pair of an integer seed; categories take turns with the seed, so that every one has its share."""
    categories = list(Category)
    if kind is PairSet.CROSS:
        target_category, reference_category = CROSS[seed % len(CROSS)]
    else:
        target_category = reference_category = categories[seed % len(categories)]
    target = sample_scene(domain, 2 * seed, target_category)
    reference = sample_scene(domain, 2 * seed + 1, reference_category)
    if kind in (PairSet.ALIGNED, PairSet.UNALIGNED):
        target, reference = _posed(target, reference, stream(domain, seed, "pair"), kind)
    return make_pair(target, reference, size)


def make_pair(target: Scene, reference: Scene, size: int) -> Pair:
    """Renders both scenes and their truth."""
    here, there = render(target, size), render(reference, size)
    true = render(target.wearing(reference), size)
    return Pair(target, reference, here, there, true, true_correspondence(here, there))


def _posed(target: Scene, reference: Scene, rng: np.random.Generator, kind: PairSet) -> tuple[Scene, Scene]:
    """Both scenes in poses that the set asks for."""
    pose = replace(sample_pose(rng), rotation=float(rng.normal(0.0, 0.1)), span=0.9)
    other = replace(pose, place=(float(rng.uniform()), float(rng.uniform())))
    if kind is PairSet.UNALIGNED:
        turn = float(rng.choice([-1.0, 1.0]) * rng.uniform(np.pi / 6 + 0.05, np.pi / 3))
        other = replace(other, mirror=not pose.mirror, rotation=pose.rotation + turn, span=0.45)
        if rng.uniform() < 0.5:
            pose, other = other, pose
    return replace(target, pose=pose), replace(reference, pose=other)
