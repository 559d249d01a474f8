"""Sentences that name what a scene shows: category, parts, colours, textures, background."""

from collections.abc import Collection

import numpy as np

from lab.scenes.scene import Scene
from lab.scenes.textures import Appearance, Texture

_TEXTURE_WORDS = {
    Texture.GRADIENT: "shaded",
    Texture.STRIPES: "striped",
    Texture.DOTS: "dotted",
    Texture.CHECKS: "checked",
    Texture.NOISE: "marbled",
}


def describe(scene: Scene, groups: Collection[str] | None = None) -> str:
    """The caption of a scene; `groups` limits it to some groups of parts (all that vary by default)."""
    named = [group for group in varying_groups(scene) if groups is None or group in groups]
    backdrop = f"on a {scene.backdrop.kind} {scene.backdrop.first.name} background"
    if not named:
        return f"a {scene.category} {backdrop}"
    parts = ", ".join(f"{looks(scene.appearances[group])} {group}" for group in named)
    return f"a {scene.category} with {parts} {backdrop}"


def looks(appearance: Appearance) -> str:
    """The words of one part's looks: "red", or "striped red and white"."""
    if appearance.texture is Texture.PLAIN:
        return appearance.first.name
    return f"{_TEXTURE_WORDS[appearance.texture]} {appearance.first.name} and {appearance.second.name}"


def varying_groups(scene: Scene) -> list[str]:
    """The groups of parts whose looks differ between scenes, in drawing order."""
    fixed = {part.kind.group for part in scene.parts if part.kind.fixed}
    return [group for group in scene.appearances if group not in fixed]


def training_caption(scene: Scene, rng: np.random.Generator) -> str:
    """A caption as training draws it: mostly complete, sometimes naming a few parts, sometimes the category only."""
    choice = rng.uniform()
    if choice < 0.1:
        return f"a photo of a {scene.category}"
    if choice < 0.65:
        return describe(scene)
    groups = varying_groups(scene)
    kept = rng.permutation(len(groups))[: int(rng.integers(1, len(groups) + 1))]
    return describe(scene, {groups[index] for index in kept})
