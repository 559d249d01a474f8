"""A scene: figure, pose, light, background, and the looks of every part; drawn from a seed."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from lab.scenes.backgrounds import Backdrop, sample_backdrop
from lab.scenes.bodies import bird, car, fish, flower, house, quadruped
from lab.scenes.lighting import Light, sample_light
from lab.scenes.outlines import AXIS, Floats, Profile
from lab.scenes.palette import swatch
from lab.scenes.parts import Affine, Category, PlacedPart
from lab.scenes.seeds import Domain, stream
from lab.scenes.textures import Appearance, Texture, sample_appearance

BUILDERS = {
    Category.BIRD: bird.build,
    Category.FISH: fish.build,
    Category.QUADRUPED: quadruped.build,
    Category.CAR: car.build,
    Category.HOUSE: house.build,
    Category.FLOWER: flower.build,
}


@dataclass(frozen=True)
class Pose:
    """Where the figure stands. `span` is the longer side of its bounding box as a share of the picture's side;
    `place` is where in the room left over the box lies (0..1 each way); `rotation` in radians, clockwise."""

    span: float
    place: tuple[float, float]
    rotation: float
    mirror: bool


@dataclass(frozen=True)
class Scene:
    """Everything that a picture is drawn from."""

    category: Category
    parts: tuple[PlacedPart, ...]
    pose: Pose
    light: Light
    backdrop: Backdrop
    appearances: Mapping[str, Appearance]

    def wearing(self, other: "Scene") -> "Scene":
        """This figure, pose, light and background with the other scene's looks on every part that both have.

        Its picture is the truth of the pair (target: this scene, reference: the other).
        """
        shared = {group: other.appearances.get(group, own) for group, own in self.appearances.items()}
        return replace(self, appearances=shared)


def sample_scene(domain: Domain, seed: int, category: Category | None = None) -> Scene:
    """The scene of an integer seed in a domain, of a random category where none is named."""
    kinds = list(Category)
    drawn = kinds[int(stream(domain, seed, "category").integers(len(kinds)))]
    category = drawn if category is None else category
    parts = tuple(BUILDERS[category](stream(domain, seed, f"figure {category}")))
    return Scene(
        category=category,
        parts=parts,
        pose=sample_pose(stream(domain, seed, "pose")),
        light=sample_light(stream(domain, seed, "light")),
        backdrop=sample_backdrop(stream(domain, seed, "backdrop")),
        appearances=sample_appearances(stream(domain, seed, "appearance"), parts),
    )


def sample_pose(rng: np.random.Generator) -> Pose:
    """Mostly upright figures; one in four turned by up to 60 degrees; half of them mirrored."""
    turned = rng.uniform() < 0.25
    rotation = rng.uniform(-np.pi / 3, np.pi / 3) if turned else rng.normal(0.0, 0.15)
    place = (float(rng.uniform()), float(rng.uniform()))
    return Pose(float(rng.uniform(0.62, 0.98)), place, float(rotation), bool(rng.uniform() < 0.5))


def sample_appearances(rng: np.random.Generator, parts: tuple[PlacedPart, ...]) -> dict[str, Appearance]:
    """Looks for every group of parts; parts that never change get their fixed colour."""
    appearances: dict[str, Appearance] = {}
    for part in parts:
        group = part.kind.group
        if group in appearances:
            continue
        drawn = sample_appearance(rng, part.kind.textured)
        if part.kind.fixed:
            drawn = replace(drawn, texture=Texture.PLAIN, first=swatch(rng, "black"))
        appearances[group] = drawn
    return appearances


def figure_to_picture(scene: Scene) -> Affine:
    """The affine map `[2, 3]` from figure coordinates to the unit square of the picture."""
    pose = scene.pose
    cos, sin = np.cos(pose.rotation), np.sin(pose.rotation)
    turn = np.array([[cos, -sin], [sin, cos]]) @ np.diag([-1.0 if pose.mirror else 1.0, 1.0])
    points = np.concatenate([border_points(part) for part in scene.parts]) @ turn.T
    low, high = points.min(axis=0), points.max(axis=0)
    scale = pose.span / float((high - low).max())
    room = 1.0 - scale * (high - low)
    offset = room * np.asarray(pose.place) - scale * low
    return np.concatenate([scale * turn, offset[:, None]], axis=1)


def border_points(part: PlacedPart) -> Floats:
    """Points on a part's border, in figure coordinates, `[points, 2]`."""
    if isinstance(part.outline, Profile):
        u = np.concatenate([AXIS[::16], AXIS[::16]])
        v = np.concatenate([-part.outline.upper[::16], part.outline.lower[::16]])
    else:
        angle = AXIS[::16] * np.pi
        u, v = part.outline.radius[::16] * np.cos(angle), part.outline.radius[::16] * np.sin(angle)
    homogeneous = np.stack([u, v + part.bend * u * u, np.ones_like(u)])
    points: Floats = (part.to_figure @ homogeneous).T.astype(np.float32)
    return points
