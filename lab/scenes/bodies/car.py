"""Cars from the side: saloon, hatchback, van, pick-up, sports car. Facing right."""

from dataclasses import dataclass

import numpy as np

from lab.scenes.outlines import Profile, box, disk, ellipse, ridge
from lab.scenes.parts import PlacedPart, point_on, put


@dataclass(frozen=True)
class Plan:
    """Proportions of one kind of car; `cabin` is centre, half length, half height and its outline's upper
    corners (rear, front)."""

    body: tuple[float, float]
    cabin: tuple[float, float, float, float, float]
    wheel: float
    stance: float
    nose: float


PLANS = (
    Plan((0.95, 0.21), (-0.08, 0.52, 0.21, -0.62, 0.50), 0.19, 0.60, 0.25),
    Plan((0.86, 0.23), (-0.20, 0.58, 0.23, -0.85, 0.45), 0.19, 0.56, 0.30),
    Plan((0.92, 0.28), (-0.12, 0.76, 0.34, -0.93, 0.66), 0.18, 0.58, 0.10),
    Plan((0.98, 0.22), (0.12, 0.36, 0.26, -0.80, 0.55), 0.22, 0.62, 0.05),
    Plan((0.98, 0.17), (-0.16, 0.48, 0.16, -0.35, 0.28), 0.20, 0.62, 0.55),
)


def build(rng: np.random.Generator) -> list[PlacedPart]:
    """A random car, back parts first."""
    plan = PLANS[int(rng.integers(len(PLANS)))]
    vary = rng.uniform(0.90, 1.10, 4)
    size = (plan.body[0], plan.body[1] * vary[0])
    body = put("body", _shell(plan.nose), (0.0, 0.12), size, relief=0.45)
    x, length, height, rear, front = plan.cabin
    height = height * vary[1]
    cabin_outline = ridge([(-1.0, 1.0), (rear, -1.0), (front, -1.0), (1.0, 1.0)])
    cabin = put("cabin", cabin_outline, (x, 0.12 - size[1] - height + 0.03), (length, height), relief=0.4)
    split = (rear + front) / 2.0 + float(rng.uniform(-0.08, 0.08))
    rear_window = _window("rear window", cabin, (rear - 0.02, split - 0.07), (rear - 1.0) * 0.32)
    front_window = _window("front window", cabin, (split + 0.07, front + 0.02), (1.0 - front) * 0.32)
    door_u = float(rng.uniform(-0.20, 0.02))
    door = put("door", box(0.06), point_on(body, door_u, -0.10), (0.20, size[1] * 0.78), relief=0.3)
    lamp = put("lamp", ellipse(3.0), point_on(body, 0.86, -0.05 + plan.nose * 0.4), (0.08, 0.065), relief=0.4)
    radius = plan.wheel * vary[2]
    stance = plan.stance * (0.96 + 0.04 * vary[3])
    wheels = [
        put(
            f"{end} wheel",
            disk(),
            (side * stance, 0.12 + size[1] * 0.85),
            (radius, radius),
            float(rng.uniform(0.0, 0.3)),
            relief=0.3,
        )
        for end, side in (("rear", -1.0), ("front", 1.0))
    ]
    return [cabin, rear_window, front_window, body, door, lamp, *wheels]


def _shell(nose: float) -> Profile:
    """The lower body: flat deck, bonnet falling towards the front."""
    return ridge(
        [
            (-1.0, 0.4),
            (-0.96, -0.75),
            (-0.8, -1.0),
            (0.45, -1.0),
            (0.88, -1.0 + nose),
            (0.98, -0.45 + nose),
            (1.0, 0.5),
        ],
        0.9,
    )


def _window(name: str, cabin: PlacedPart, span: tuple[float, float], slant: float) -> PlacedPart:
    """A pane between two `u` of the cabin; its slanted side follows the pillar (`slant` negative: at the rear)."""
    half = (span[1] - span[0]) / 2.0
    middle = (span[0] + span[1]) / 2.0
    lean = float(np.clip(abs(slant) / half, 0.0, 0.9))
    corners = [(-1.0, 1.0), (-1.0 + lean, -1.0), (0.97, -1.0), (1.0, 1.0)]
    if slant > 0:
        corners = [(-u, v) for u, v in reversed(corners)]
    length = float(np.linalg.norm(cabin.to_figure[:, 0])) * half * 1.12
    height = float(np.linalg.norm(cabin.to_figure[:, 1])) * 0.66
    return put(name, ridge(corners), point_on(cabin, middle, 0.06), (length, height), relief=0.15)
