"""Four-legged animals: horse, dog, cat, sheep, giraffe. Facing right, walking."""

from dataclasses import dataclass

import numpy as np

from lab.scenes.outlines import Profile, drop, ellipse, taper
from lab.scenes.parts import PlacedPart, limb, point_on, put


@dataclass(frozen=True)
class Plan:
    """Proportions of one kind of animal; `tail` is length and half width, `ear` length and half width."""

    body: tuple[float, float]
    roundness: float
    neck: tuple[float, float, float]
    head: tuple[float, float]
    nod: float
    leg: tuple[float, float]
    tail: tuple[float, float]
    ear: tuple[float, float]


PLANS = (
    Plan((0.56, 0.25), 2.6, (0.46, 0.15, -0.95), (0.27, 0.13), 0.55, (0.66, 0.075), (0.55, 0.08), (0.16, 0.05)),
    Plan((0.54, 0.22), 2.8, (0.26, 0.14, -0.80), (0.25, 0.15), 0.20, (0.50, 0.075), (0.46, 0.06), (0.22, 0.08)),
    Plan((0.58, 0.23), 2.4, (0.18, 0.13, -0.60), (0.22, 0.19), 0.05, (0.42, 0.075), (0.62, 0.06), (0.16, 0.09)),
    Plan((0.60, 0.36), 2.4, (0.16, 0.16, -0.40), (0.23, 0.15), 0.35, (0.42, 0.070), (0.22, 0.07), (0.18, 0.06)),
    Plan((0.44, 0.23), 2.4, (0.78, 0.12, -1.15), (0.23, 0.11), 0.45, (0.76, 0.065), (0.42, 0.05), (0.14, 0.05)),
)


def build(rng: np.random.Generator) -> list[PlacedPart]:
    """A random animal, back parts first."""
    plan = PLANS[int(rng.integers(len(PLANS)))]
    vary = rng.uniform(0.88, 1.12, 5)
    size = (plan.body[0] * vary[0], plan.body[1] * vary[1])
    body = put(
        "body", drop(float(rng.uniform(-0.05, 0.12)), plan.roundness), (0.0, 0.0), size, float(rng.normal(0.0, 0.05))
    )
    tail = limb(
        "tail",
        taper(1.0, 0.55, 0.2),
        point_on(body, -0.88, -0.45),
        (plan.tail[0] * vary[2], plan.tail[1]),
        np.pi * 0.75 + float(rng.normal(0.0, 0.4)),
        bend=float(rng.normal(0.0, 1.2)),
    )
    lift = plan.neck[2] + float(rng.normal(0.0, 0.18))
    neck = limb(
        "neck", taper(1.0, 0.75), point_on(body, 0.70, -0.25), (plan.neck[0] * vary[3] + 0.12, plan.neck[1]), lift
    )
    head = _head(plan, neck, vary[4], float(rng.normal(0.0, 0.15)))
    eye = put("eye", ellipse(), point_on(head, -0.05, -0.25), (0.045, 0.045), relief=0.2)
    ear = limb(
        "ear", taper(1.0, 0.35, 0.2), point_on(head, -0.55, -0.55), plan.ear, -2.0 + float(rng.normal(0.0, 0.25))
    )
    far, near = _legs(rng, plan, body)
    return [*far, tail, neck, body, *near, ear, head, eye]


def _head(plan: Plan, neck: PlacedPart, vary: float, nod: float) -> PlacedPart:
    """A head whose nose points forward and down, its back on the end of the neck."""
    angle = plan.nod + nod
    root = point_on(neck, 0.80, 0.0)
    centre = (root[0] + 0.5 * plan.head[0] * float(np.cos(angle)), root[1] + 0.5 * plan.head[0] * float(np.sin(angle)))
    return put("head", drop(-0.18, 2.4), centre, (plan.head[0], plan.head[1] * vary), angle)


def _legs(rng: np.random.Generator, plan: Plan, body: PlacedPart) -> tuple[list[PlacedPart], list[PlacedPart]]:
    """Far and near legs, swinging against each other."""
    stride = float(rng.uniform(-0.4, 0.4))
    outline: Profile = taper(1.0, 0.62, 0.08)
    length = plan.leg[0] + 0.4 * plan.body[1]

    def leg(name: str, u: float, swing: float) -> PlacedPart:
        return limb(name, outline, point_on(body, u, 0.35), (length, plan.leg[1]), np.pi / 2 + swing, relief=0.8)

    far = [leg("far hindleg", -0.62, stride), leg("far foreleg", 0.68, -stride)]
    near = [leg("near hindleg", -0.72, -stride * 0.8), leg("near foreleg", 0.58, stride * 0.8)]
    return far, near
