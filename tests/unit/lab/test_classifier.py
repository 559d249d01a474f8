"""The texture classifier: right on the renderer's own parts, and on patterns made by hand."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from lab.metrics.classifier import Reading, read_texture
from lab.metrics.patterns import TextureScore, agrees, measure_light, pattern_questions, score_texture
from lab.metrics.regions import distance_to, part_borders
from lab.pairs import Pair, make_pair
from lab.scenes import PART_ID, Category, Domain, Scene, sample_scene, stream
from lab.scenes.palette import Swatch
from lab.scenes.textures import Appearance, Texture, paint, sample_appearance

HALF_SIZE = (0.55, 0.32)
SIDE = 40


def looks(texture: Texture, **changes: Any) -> Appearance:
    first, second = Swatch("red", (0.84, 0.15, 0.16)), Swatch("white", (0.96, 0.96, 0.96))
    plain = Appearance(texture, first, second, pitch=0.27, angle=0.4, phase=(0.3, 0.6), lattice_seed=1)
    return replace(plain, **changes)


def read(appearance: Appearance, blur: float = 0.0, noise: float = 0.0) -> Reading:
    """Reads a rectangular part that wears an appearance."""
    from scipy.ndimage import gaussian_filter

    v, u = (
        plane.ravel() for plane in np.meshgrid(*(2 * [np.linspace(-0.9, 0.9, SIDE, dtype=np.float32)]), indexing="ij")
    )
    colours = paint(appearance, u, v, HALF_SIZE).astype(np.float64).reshape(SIDE, SIDE, 3)
    colours = gaussian_filter(colours, (blur, blur, 0.0))
    colours += np.random.default_rng(0).normal(0.0, noise, colours.shape)
    return read_texture(colours.reshape(-1, 3), np.stack([u, v], axis=1).astype(np.float64), HALF_SIZE)


@pytest.mark.parametrize("texture", [texture for texture in Texture if texture is not Texture.NOISE])
@pytest.mark.parametrize("phase", [(0.0, 0.0), (0.45, 0.8)])
def test_every_texture_is_read_with_its_colours(texture: Texture, phase: tuple[float, float]) -> None:
    appearance = looks(texture, phase=phase)
    reading = read(appearance, blur=1.0, noise=0.02)
    assert reading.texture is texture
    meant = appearance if texture is not Texture.PLAIN else replace(appearance, second=appearance.first)
    assert agrees(reading, meant)


def test_the_wrong_colours_do_not_agree() -> None:
    reading = read(looks(Texture.STRIPES))
    assert agrees(
        reading, looks(Texture.STRIPES, first=looks(Texture.STRIPES).second, second=looks(Texture.STRIPES).first)
    )
    assert not agrees(reading, looks(Texture.STRIPES, second=Swatch("blue", (0.15, 0.32, 0.77))))
    dots = looks(Texture.DOTS)
    assert not agrees(read(dots), replace(dots, first=dots.second, second=dots.first)), "dots lie on a ground"


def test_faint_patterns_are_plain() -> None:
    faint = Swatch("red", (0.84, 0.20, 0.22))
    assert read(looks(Texture.CHECKS, second=faint)).texture is Texture.PLAIN


def test_most_of_random_patterns_are_read() -> None:
    rng = stream(Domain.TUNING, 0, "classifier")
    drawn = [sample_appearance(rng, textured=True) for _ in range(60)]
    regular = [a for a in drawn if a.texture in (Texture.STRIPES, Texture.DOTS, Texture.CHECKS)]
    assert len(regular) >= 15
    assert np.mean([agrees(read(a, blur=0.7), a) for a in regular]) >= 0.9
    plain = [a for a in drawn if a.texture is Texture.PLAIN]
    assert all(read(a).texture is Texture.PLAIN for a in plain)


def judged(picture: NDArray[np.uint8], pair: Pair) -> TextureScore:
    return score_texture(picture, pattern_questions(pair))


def dressed(texture: Texture, first: Swatch, second: Swatch) -> Scene:
    """A bird all of whose parts wear one texture."""
    scene = sample_scene(Domain.TUNING, 4, Category.BIRD)
    fresh = looks(texture, first=first, second=second)
    return replace(
        scene, appearances={group: fresh if group != "eye" else own for group, own in scene.appearances.items()}
    )


@pytest.fixture(scope="module")
def striped_and_plain() -> Pair:
    """Target striped in red and white, reference plain blue."""
    red, white, blue = Swatch("r", (0.8, 0.2, 0.2)), Swatch("w", (0.9, 0.9, 0.9)), Swatch("b", (0.2, 0.3, 0.8))
    return make_pair(dressed(Texture.STRIPES, red, white), dressed(Texture.PLAIN, blue, blue), 128)


def test_markings_left_counts_the_parts_that_keep_them(striped_and_plain: Pair) -> None:
    pair = striped_and_plain
    untouched = judged(pair.target.image, pair)
    assert untouched.markings_left.value == 1.0
    assert untouched.markings_left.weight >= 2
    assert untouched.texture_rate.weight == 0.0
    assert judged(pair.truth.image, pair).markings_left.value == 0.0


def test_half_mixed_markings_are_still_markings(striped_and_plain: Pair) -> None:
    pair = striped_and_plain
    mixed = (0.5 * pair.target.image + 0.5 * pair.truth.image).astype(np.uint8)
    assert judged(mixed, pair).markings_left.value == 1.0


def test_texture_rate_asks_for_the_pattern_and_its_colours(striped_and_plain: Pair) -> None:
    """The same pair the other way round: the plain bird is to wear stripes."""
    pair = make_pair(striped_and_plain.reference_scene, striped_and_plain.target_scene, 128)
    truth = judged(pair.truth.image, pair)
    assert truth.texture_rate.value == 1.0
    assert truth.texture_rate.weight >= 2
    assert judged(pair.target.image, pair).texture_rate.value == 0.0
    swapped = pair.truth.image[..., ::-1].copy()
    assert judged(swapped, pair).texture_rate.value == 0.0, "blue stripes are not red ones"


def test_light_is_what_the_paint_is_multiplied_with() -> None:
    grey = Swatch("grey", (0.4, 0.4, 0.4))
    scene = dressed(Texture.PLAIN, grey, grey)
    pair = make_pair(scene, scene, 96)
    light = measure_light(scene, 96)
    body = (pair.target.part == PART_ID["body"]) & (distance_to(part_borders(pair.target.part)) > 2.0)
    assert body.sum() > 100
    np.testing.assert_allclose(pair.target.image[body][:, 0] / 255.0, 0.4 * light[body], atol=0.01)
