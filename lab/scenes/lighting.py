"""Light on parts: one directional light, parts rounded across their outline, borders darkened."""

from dataclasses import dataclass

import numpy as np

from lab.scenes.outlines import Floats

BORDER_WIDTH = 0.024
"""Figure units over which a part darkens towards its border, which separates parts of one colour."""

BORDER_DARKNESS = 0.42


@dataclass(frozen=True)
class Light:
    """A directional light: unit direction towards it (x right, y down, z to the viewer), and the share of
    ambient light."""

    direction: tuple[float, float, float]
    ambient: float


def sample_light(rng: np.random.Generator) -> Light:
    """Light from above, left or right, 35 to 65 degrees off the line of sight."""
    azimuth = float(rng.uniform(-0.85 * np.pi, -0.15 * np.pi))
    tilt = float(rng.uniform(0.6, 1.1))
    direction = (np.sin(tilt) * np.cos(azimuth), np.sin(tilt) * np.sin(azimuth), np.cos(tilt))
    return Light((float(direction[0]), float(direction[1]), float(direction[2])), float(rng.uniform(0.35, 0.6)))


def shade(light: Light, slope_x: Floats, slope_y: Floats, border_distance: Floats) -> Floats:
    """Factor on the colour of each point: 1 on a surface facing the viewer, away from borders.

    `slope_x`, `slope_y` are the picture components of the unit surface normal; `border_distance` is in figure units.
    """
    x, y, z = (np.float32(component) for component in light.direction)
    facing = np.sqrt(np.clip(1.0 - slope_x * slope_x - slope_y * slope_y, 0.05, 1.0))
    lambert = np.clip((x * slope_x + y * slope_y + z * facing) / z, 0.0, 1.5)
    lit = np.float32(light.ambient) + np.float32(1.0 - light.ambient) * lambert
    near_border = np.exp(-np.square(border_distance * np.float32(1.0 / BORDER_WIDTH)))
    shaded: Floats = np.clip(lit, 0.3, 1.25) * (1.0 - np.float32(BORDER_DARKNESS) * near_border)
    return shaded
