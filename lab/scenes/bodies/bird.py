"""Birds: songbird, wader, duck, raptor, parrot. Facing right."""

from dataclasses import dataclass

import numpy as np

from lab.scenes.outlines import drop, ellipse, fan, taper, wing
from lab.scenes.parts import PlacedPart, limb, point_on, put


@dataclass(frozen=True)
class Plan:
    """Proportions of one kind of bird, in figure units and radians."""

    body: tuple[float, float]
    tilt: float
    neck: float
    head: float
    beak: tuple[float, float]
    tail: tuple[float, float]
    leg: float
    wing: tuple[float, float]


PLANS = (
    Plan((0.46, 0.31), -0.35, 0.02, 0.24, (0.20, 0.06), (0.55, 0.15), 0.34, (0.68, 0.24)),
    Plan((0.42, 0.24), -0.20, 0.42, 0.17, (0.42, 0.05), (0.30, 0.14), 0.62, (0.66, 0.21)),
    Plan((0.58, 0.30), -0.05, 0.16, 0.22, (0.26, 0.09), (0.32, 0.18), 0.20, (0.76, 0.24)),
    Plan((0.50, 0.28), -0.75, 0.00, 0.23, (0.17, 0.09), (0.52, 0.22), 0.30, (0.86, 0.26)),
    Plan((0.48, 0.25), -0.95, 0.00, 0.27, (0.17, 0.12), (0.82, 0.13), 0.24, (0.74, 0.22)),
)


def build(rng: np.random.Generator) -> list[PlacedPart]:
    """A random bird, back parts first."""
    plan = PLANS[int(rng.integers(len(PLANS)))]
    vary = rng.uniform(0.88, 1.12, 6)
    tilt = plan.tilt + float(rng.normal(0.0, 0.12))
    body = put("body", drop(float(rng.uniform(0.05, 0.25))), (0.0, 0.0), (plan.body[0], plan.body[1] * vary[0]), tilt)
    tail = limb(
        "tail",
        fan(0.45, notch=float(rng.choice([0.0, 0.0, 0.25]))),
        point_on(body, -0.82, 0.0),
        (plan.tail[0] * vary[1], plan.tail[1]),
        np.pi + tilt + float(rng.normal(0.0, 0.2)),
        relief=0.4,
    )
    head, neck = _head(rng, plan, body, vary[2])
    eye = put("eye", ellipse(), point_on(head, 0.35, -0.25), (0.05, 0.05), relief=0.2)
    beak = limb(
        "beak",
        taper(1.0, 0.12, 0.05),
        point_on(head, 0.80, 0.08),
        (plan.beak[0] * vary[3], plan.beak[1]),
        float(rng.normal(0.12, 0.12)),
    )
    raised = float(rng.choice([0.0, 0.0, 0.7])) + float(rng.normal(0.0, 0.12))
    folded = limb(
        "wing",
        wing(float(rng.uniform(0.7, 1.0)), 0.9),
        point_on(body, 0.42, -0.30),
        (plan.wing[0] * vary[4], plan.wing[1]),
        np.pi + tilt + raised,
        relief=0.5,
    )
    return [*_legs(rng, plan, body), tail, *neck, beak, head, eye, body, _turned(folded)]


def _head(rng: np.random.Generator, plan: Plan, body: PlacedPart, vary: float) -> tuple[PlacedPart, list[PlacedPart]]:
    """The head at the end of the neck, and the neck where the plan has one."""
    root = point_on(body, 0.72, -0.25)
    angle = -1.15 + float(rng.normal(0.0, 0.15))
    reach = plan.neck + 0.55 * plan.head
    centre = (root[0] + reach * float(np.cos(angle)), root[1] + reach * float(np.sin(angle)))
    head = put("head", ellipse(2.2), centre, (plan.head * 1.05, plan.head * 0.95 * vary), float(rng.normal(0.0, 0.15)))
    if plan.neck < 0.1:
        return head, []
    return head, [limb("neck", taper(1.0, 0.6), root, (plan.neck + 0.1, 0.13), angle)]


def _legs(rng: np.random.Generator, plan: Plan, body: PlacedPart) -> list[PlacedPart]:
    """Two legs under the body, slightly apart; the far one first."""
    swing = float(rng.normal(0.0, 0.2))
    outline = taper(1.0, 0.55)
    root = point_on(body, -0.05, 0.55)
    far = limb("far hindleg", outline, (root[0] + 0.13, root[1]), (plan.leg + 0.12, 0.05), np.pi / 2 + swing)
    near = limb("near hindleg", outline, root, (plan.leg + 0.14, 0.055), np.pi / 2 - swing)
    return [far, near]


def _turned(part: PlacedPart) -> PlacedPart:
    """The part reflected across its `u` axis: a wing that points backwards keeps its leading edge on top."""
    matrix = part.to_figure.copy()
    matrix[:, 1] = -matrix[:, 1]
    return PlacedPart(part.kind, part.outline, matrix, part.bend, part.relief)
