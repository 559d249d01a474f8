"""Houses: cottage, tower, barn, hut, town house."""

from dataclasses import dataclass

import numpy as np

from lab.scenes.outlines import box, ridge
from lab.scenes.parts import PlacedPart, limb, point_on, put


@dataclass(frozen=True)
class Plan:
    """Proportions of one kind of house; `crest` is half the length of the roof's ridge, as a share of the roof."""

    wall: tuple[float, float]
    roof: tuple[float, float]
    crest: float
    door: tuple[float, float, float]
    window: tuple[float, float, float]


PLANS = (
    Plan((0.66, 0.40), (0.84, 0.28), 0.05, (0.00, 0.14, 0.24), (0.42, 0.13, 0.13)),
    Plan((0.40, 0.62), (0.54, 0.32), 0.00, (0.00, 0.14, 0.22), (0.19, 0.11, 0.15)),
    Plan((0.90, 0.34), (0.98, 0.24), 0.62, (0.08, 0.19, 0.25), (0.56, 0.16, 0.12)),
    Plan((0.56, 0.34), (0.80, 0.46), 0.10, (-0.16, 0.14, 0.23), (0.30, 0.13, 0.13)),
    Plan((0.56, 0.58), (0.66, 0.20), 0.70, (0.00, 0.14, 0.24), (0.30, 0.12, 0.18)),
)


def build(rng: np.random.Generator) -> list[PlacedPart]:
    """A random house, back parts first."""
    plan = PLANS[int(rng.integers(len(PLANS)))]
    vary = rng.uniform(0.88, 1.12, 4)
    lean = float(rng.normal(0.0, 0.05))
    size = (plan.wall[0] * vary[0], plan.wall[1])
    wall = put("wall", box(0.01), (0.0, 0.28), size, lean, relief=0.15)
    height = plan.roof[1] * vary[1]
    tip = plan.crest
    outline = ridge([(-1.0, 1.0), (-tip - 0.02, -1.0), (tip + 0.02, -1.0), (1.0, 1.0)])
    top = point_on(wall, 0.0, -1.0)
    roof = put("gable", outline, (top[0], top[1] - height + 0.05), (plan.roof[0] * vary[0], height), lean, relief=0.25)
    # Always over the rear window, and above the roof: it shows which way round a house is, as an animal's head does.
    edge = 2.0 * max(0.0, 0.5 - tip) / (1.0 - tip) - 1.0
    stack = (height * (0.75 - edge) + 0.2, 0.09)
    chimney = limb("chimney", box(0.02), point_on(roof, -0.5, 0.75), stack, -np.pi / 2 + lean, relief=0.3)
    x, half_width, half_height = plan.door
    base = point_on(wall, x / plan.wall[0], 1.0)
    door = put(
        "door", box(0.04), (base[0], base[1] - half_height), (half_width * vary[2], half_height), lean, relief=0.2
    )
    offset, width, tall = plan.window
    row = float(rng.uniform(-0.45, -0.2))
    windows = [
        put(
            name,
            box(0.02),
            point_on(wall, sign * offset / plan.wall[0], row),
            (width * vary[3], tall),
            lean,
            relief=0.15,
        )
        for name, sign in (("rear window", -1.0), ("front window", 1.0))
    ]
    return [chimney, wall, roof, door, *windows]
