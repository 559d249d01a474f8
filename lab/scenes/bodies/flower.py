"""Flowers: daisy, star, sunflower, poppy, bellflower; some in a pot."""

from dataclasses import dataclass

import numpy as np

from lab.scenes.outlines import disk, ellipse, petals, taper
from lab.scenes.parts import PlacedPart, limb, point_on, put


@dataclass(frozen=True)
class Plan:
    """Proportions of one kind of flower."""

    count: tuple[int, int]
    depth: float
    sharpness: float
    petals: tuple[float, float]
    centre: float
    stem: float
    leaf: tuple[float, float]


PLANS = (
    Plan((8, 11), 0.35, 0.8, (0.52, 0.52), 0.20, 0.95, (0.52, 0.11)),
    Plan((5, 6), 0.50, 1.2, (0.58, 0.58), 0.16, 0.85, (0.46, 0.13)),
    Plan((11, 14), 0.25, 1.0, (0.58, 0.58), 0.32, 1.00, (0.56, 0.16)),
    Plan((4, 5), 0.25, 0.6, (0.56, 0.50), 0.18, 0.90, (0.50, 0.12)),
    Plan((6, 7), 0.40, 0.7, (0.48, 0.60), 0.20, 0.80, (0.48, 0.14)),
)


def build(rng: np.random.Generator) -> list[PlacedPart]:
    """A random flower, back parts first."""
    plan = PLANS[int(rng.integers(len(PLANS)))]
    vary = rng.uniform(0.88, 1.12, 4)
    sway = float(rng.normal(0.0, 0.15))
    root = (0.0, 0.95)
    stem = limb(
        "stem",
        taper(1.0, 0.8, 0.02),
        root,
        (plan.stem + 0.35, 0.055),
        -np.pi / 2 + sway,
        bend=float(rng.normal(0.0, 1.2)),
    )
    crown = point_on(stem, 0.85, 0.0)
    turn = float(rng.normal(0.0, 0.25))
    outline = petals(
        int(rng.integers(*plan.count, endpoint=True)),
        plan.depth * vary[0],
        plan.sharpness,
        float(rng.uniform(-0.3, 0.3)),
    )
    corolla = put("petals", outline, crown, (plan.petals[0] * vary[1], plan.petals[1] * vary[1]), turn, relief=0.45)
    centre = put(
        "centre",
        disk(),
        crown,
        (plan.centre * vary[2], plan.centre * vary[2] * plan.petals[1] / plan.petals[0]),
        turn,
        relief=0.8,
    )
    angle = 0.45 + float(rng.normal(0.0, 0.2))
    length, width = plan.leaf[0] * vary[3], plan.leaf[1]
    near = limb("near leaf", ellipse(1.7), point_on(stem, -0.30, 0.0), (length, width), -angle, bend=0.25, relief=0.4)
    far = limb(
        "far leaf",
        ellipse(1.7),
        point_on(stem, -0.10, 0.0),
        (length, width),
        -np.pi + angle * 0.9,
        bend=-0.25,
        relief=0.4,
    )
    pot: list[PlacedPart] = []
    if rng.uniform() < 0.5:
        pot = [put("pot", taper(1.0, 0.7, 0.01), (0.0, 1.10), (0.24, 0.32), np.pi / 2, relief=0.6)]
    return [far, stem, near, corolla, centre, *pot]
