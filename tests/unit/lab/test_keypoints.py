"""Points read by hand on cut-outs, and their figures."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lab.photographs.keypoints import GREY, SIDE_PX, pair_of, read_pointed, summarise


def cut_out(path: Path) -> Path:
    """A wide picture, opaque in its left half."""
    planes = np.zeros((40, 100, 4), np.uint8)
    planes[:, :50] = (255, 0, 0, 255)
    Image.fromarray(planes).save(path)
    return path


def test_points_move_with_the_picture_onto_its_square(tmp_path: Path) -> None:
    found = read_pointed(cut_out(tmp_path / "a.png"), {"corner": (0.5, 0.0), "end": (0.0, 1.0)}, "left")
    image, mask = found.photograph.image, found.photograph.mask
    assert image.shape == (SIDE_PX, SIDE_PX, 3)
    assert tuple(image[2, 2]) == (GREY,) * 3
    x, y = (round(place * SIDE_PX) for place in found.points["corner"])
    assert mask[y + 4, x - 4] == 255
    assert mask[y + 4, x + 4] == 0
    assert mask[y - 4, x - 4] == 0
    assert found.points["end"] == pytest.approx(((115 - 100) // 2 / 115, ((115 - 40) // 2 + 40) / 115))


def test_a_pair_has_the_points_that_both_have(tmp_path: Path) -> None:
    path = cut_out(tmp_path / "a.png")
    one = read_pointed(path, {"eye": (0.1, 0.1), "foot": (0.2, 0.9)}, "left")
    other = read_pointed(path, {"tail": (0.4, 0.4), "eye": (0.3, 0.2)}, "right")
    (point,) = pair_of(one, other).points
    assert (point.target, point.reference) == (one.points["eye"], other.points["eye"])


def test_sets_count_alike_in_the_mean() -> None:
    scored = [
        ("bird", "same", {"pck_0.1": 1.0}),
        ("bird", "other", {"pck_0.1": 0.0}),
        ("car", "same", {"pck_0.1": 1.0}),
    ]
    result = summarise(scored)
    assert result["mean"] == {"pck_0.1": 0.75}
    assert result["bird, other way"] == {"pck_0.1": 0.0}
