"""Fish: round, slender, high, shark-like, flat-bellied. Facing right."""

from dataclasses import dataclass

import numpy as np

from lab.scenes.outlines import drop, ellipse, fan, ridge
from lab.scenes.parts import PlacedPart, limb, point_on, put


@dataclass(frozen=True)
class Plan:
    """Proportions of one kind of fish."""

    body: tuple[float, float]
    lean: float
    tail: tuple[float, float]
    notch: float
    dorsal: tuple[float, float]
    belly: tuple[float, float]


PLANS = (
    Plan((0.66, 0.44), 0.10, (0.48, 0.34), 0.25, (0.42, 0.20), (0.26, 0.16)),
    Plan((0.80, 0.28), 0.15, (0.46, 0.30), 0.45, (0.34, 0.15), (0.22, 0.13)),
    Plan((0.60, 0.58), 0.05, (0.42, 0.30), 0.10, (0.44, 0.26), (0.34, 0.24)),
    Plan((0.86, 0.25), 0.25, (0.50, 0.40), 0.55, (0.20, 0.26), (0.24, 0.14)),
    Plan((0.70, 0.36), -0.05, (0.58, 0.38), 0.00, (0.52, 0.18), (0.36, 0.18)),
)

SAIL = [(-1.0, 1.0), (-0.7, -0.5), (0.1, -1.0), (0.7, -0.1), (1.0, 1.0)]
SPIKE = [(-1.0, 1.0), (-0.75, -1.0), (-0.45, -0.9), (0.4, 0.3), (1.0, 1.0)]
LOBES = [(-1.0, 1.0), (-0.85, -0.6), (-0.4, -0.9), (0.0, -0.5), (0.4, -1.0), (0.8, -0.5), (1.0, 1.0)]


def build(rng: np.random.Generator) -> list[PlacedPart]:
    """A random fish, back parts first."""
    plan = PLANS[int(rng.integers(len(PLANS)))]
    vary = rng.uniform(0.85, 1.15, 5)
    bend = float(rng.normal(0.0, 0.10))
    size = (plan.body[0], plan.body[1] * vary[0])
    body = put("body", drop(plan.lean, 2.1), (0.08, 0.0), size, bend=bend)
    swing = float(rng.normal(0.0, 0.18)) - bend * 0.8
    tail = limb(
        "tail",
        fan(0.22, plan.notch * vary[1]),
        point_on(body, -0.90, 0.0),
        (plan.tail[0], plan.tail[1] * vary[2]),
        np.pi + swing,
        relief=0.3,
    )
    head = put(
        "head", ellipse(2.3), point_on(body, 0.63, 0.0), (size[0] * 0.37, size[1] * 0.74), bend * 0.6, relief=0.7
    )
    eye = put("eye", ellipse(), point_on(head, 0.25, -0.28), (0.055, 0.055), relief=0.2)
    dorsal = put(
        "dorsal fin",
        ridge([SAIL, SPIKE, LOBES][int(rng.integers(3))]),
        point_on(body, -0.10, -1.0),
        (plan.dorsal[0] * vary[3], plan.dorsal[1]),
        float(rng.normal(0.0, 0.06)),
        relief=0.3,
    )
    belly = _flipped(
        put(
            "belly fin",
            ridge([SAIL, SPIKE][int(rng.integers(2))]),
            point_on(body, -0.15, 0.98),
            (plan.belly[0], plan.belly[1] * vary[4]),
            relief=0.3,
        )
    )
    flap = np.pi - 0.35 + float(rng.normal(0.0, 0.3))
    side = limb("side fin", fan(0.35), point_on(body, 0.24, 0.22), (0.30, 0.12), flap, relief=0.4)
    return [tail, dorsal, belly, body, head, eye, side]


def _flipped(part: PlacedPart) -> PlacedPart:
    """The part upside down, `v` still pointing from the tip of the fin to the body."""
    matrix = part.to_figure.copy()
    matrix[:, 1] = -matrix[:, 1]
    return PlacedPart(part.kind, part.outline, matrix, part.bend, part.relief)
