"""Texture: do parts show the reference's pattern, and have they lost the target's own?"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from lab.metrics.classifier import Reading, read_texture
from lab.metrics.colour_space import Reals, ciede2000, srgb_to_lab
from lab.metrics.figure import NOTHING, Figure
from lab.metrics.regions import Bytes, CountedPart, Flags, counted_parts, true_looks
from lab.pairs import Pair
from lab.scenes import PARTS, Scene, render
from lab.scenes.palette import Swatch
from lab.scenes.textures import Appearance, Texture

REGULAR = (Texture.STRIPES, Texture.DOTS, Texture.CHECKS)
"""Textures that count as patterns and as markings: those that the classifier distinguishes for sure."""
SAME_COLOUR = 15.0
"""CIEDE2000 up to which a colour read is the one meant. On the truth nearly all are within 10."""
READABLE_PX = 64
"""Least number of counted pixels by which a part's texture is read."""
GREY = 0.5
"""Paint under which the light on the target is measured: no light clips it."""
UNTEXTURED = {kind.group for kind in PARTS if not kind.textured}


@dataclass(frozen=True)
class TextureScore:
    """How many parts of one result show the right pattern, and how many the wrong one."""

    texture_rate: Figure
    """Share of parts, patterned in the reference, that show its pattern in its colours."""
    markings_left: Figure
    """Share of parts, plain in the reference and patterned in the target, that still show the target's pattern."""


@dataclass(frozen=True)
class PatternQuestion:
    """A part whose pattern can be read, and what to look for in it."""

    seen: Flags
    """The pixels to read, of the whole picture."""
    light: Reals
    """The factor of light on these pixels."""
    uv: Reals
    half_size: tuple[float, float]
    wanted: Appearance | None
    """The pattern of the reference, where it is one."""
    marking: Texture | None
    """The target's own pattern, where the reference is plain."""

    def read(self, picture: Bytes) -> Reading:
        colours = picture[self.seen] / 255.0 / np.maximum(self.light, 0.1)[:, None]
        return read_texture(colours, self.uv, self.half_size)


def pattern_questions(pair: Pair) -> list[PatternQuestion]:
    """The parts that are judged: those whose pattern is read rightly in the picture that surely shows it."""
    light = measure_light(pair.target_scene, pair.target.part.shape[0])
    questions = []
    for part in counted_parts(pair):
        seen = _readable(part, light)
        if part.group in UNTEXTURED or not seen.any():
            continue
        question = _ask(pair, part, seen, light)
        if question.wanted is not None and agrees(question.read(pair.truth.image), question.wanted):
            questions.append(question)
        if question.marking is not None and question.read(pair.target.image).texture is question.marking:
            questions.append(question)
    return questions


def _ask(pair: Pair, part: CountedPart, seen: Flags, light: Reals) -> PatternQuestion:
    looks, own = true_looks(pair)[part.group], pair.target_scene.appearances[part.group].texture
    return PatternQuestion(
        seen,
        light[seen],
        pair.target.uv[seen].astype(np.float64),
        part.half_size,
        wanted=looks if looks.texture in REGULAR else None,
        marking=own if looks.texture is Texture.PLAIN and own in REGULAR else None,
    )


def score_texture(result: Bytes, questions: Sequence[PatternQuestion]) -> TextureScore:
    """Reads a result's parts and compares."""
    readings = [(question, question.read(result)) for question in questions]
    shown = [agrees(reading, question.wanted) for question, reading in readings if question.wanted is not None]
    kept = [reading.texture is question.marking for question, reading in readings if question.marking is not None]
    return TextureScore(_share(shown), _share(kept))


def agrees(reading: Reading, looks: Appearance) -> bool:
    """Whether a part reads as it should look: texture and colours, in any order except for dots on their ground."""
    if reading.texture is not looks.texture:
        return False
    read = srgb_to_lab(np.stack([reading.first, reading.second]))
    meant = srgb_to_lab(np.array([looks.first.rgb, looks.second.rgb]))
    orders = (meant,) if looks.texture is Texture.DOTS else (meant, meant[::-1])
    return any(bool((ciede2000(read, order) <= SAME_COLOUR).all()) for order in orders)


def measure_light(scene: Scene, size: int) -> Reals:
    """The factor of light on every pixel of the scene's figure, `[size, size]`: its picture in grey, by that grey."""
    grey = Swatch("grey", (GREY, GREY, GREY))
    looks = {group: replace(own, texture=Texture.PLAIN, first=grey) for group, own in scene.appearances.items()}
    picture = render(replace(scene, appearances=looks), size).image
    light: Reals = picture[..., 0] / 255.0 / GREY
    return light


def _readable(part: CountedPart, light: Reals) -> Flags:
    """Counted pixels that highlights do not clip, or none where they are too few."""
    seen = part.counted & (light <= 1.0)
    if seen.sum() < READABLE_PX:
        seen = part.counted
    return seen if seen.sum() >= READABLE_PX else np.zeros_like(seen)


def _share(verdicts: list[bool]) -> Figure:
    return Figure(float(np.mean(verdicts)), float(len(verdicts))) if verdicts else NOTHING
