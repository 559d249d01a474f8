"""`plumage match`: two pictures in, the map out, in one process."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from cli.main import main

ONE = ["--param", "matching.ensemble_size=1", "--param", "matching.neighbor_weight=0"]


@pytest.fixture
def pictures(tmp_path: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, str]:
    monkeypatch.setenv("PLUMAGE_MODEL", str(checkpoint))
    monkeypatch.setenv("PLUMAGE_DEVICE", "cpu")
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "a.png")
    Image.fromarray(noise).save(tmp_path / "b.png")
    return str(tmp_path / "a.png"), str(tmp_path / "b.png")


def plumage(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["match", *arguments])


def test_a_map_a_picture_and_how_right_it_is(pictures: tuple[str, str], tmp_path: Path) -> None:
    """A landmark is matched as given, so the truth that agrees with it is met, and the one that differs is not."""
    landmark = {"target": [0.25, 0.25], "reference": [0.9, 0.9]}
    (tmp_path / "truth.json").write_text(json.dumps([landmark, {"target": [0.25, 0.25], "reference": [0.1, 0.9]}]))
    out, numbers = tmp_path / "out.png", tmp_path / "map.npz"
    result = plumage(
        *pictures, "-o", str(out), "--map", str(numbers), "--truth", str(tmp_path / "truth.json"), *ONE,
        "--param", f"matching.landmarks={json.dumps([landmark])}",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    figures = json.loads(result.stdout.splitlines()[-1])
    assert figures["pck_0.1"] == 0.5
    assert -1.0 <= figures["similarity"] <= 1.0
    with np.load(io.BytesIO(numbers.read_bytes())) as matches:
        rows, columns = matches["similarity"].shape
        assert matches["positions"][rows // 4, columns // 4] == pytest.approx([0.9, 0.9], abs=0.5 / rows)
    with Image.open(out) as drawn:
        assert drawn.width > 2 * drawn.height - 32


def test_a_truth_that_is_none_is_refused(pictures: tuple[str, str], tmp_path: Path) -> None:
    for text in ("[]", "{", '[{"target": [2, 0], "reference": [0, 0]}]'):
        (tmp_path / "truth.json").write_text(text)
        result = plumage(*pictures, "-o", str(tmp_path / "out.png"), "--truth", str(tmp_path / "truth.json"))
        assert result.exit_code != 0
        assert "truth.json" in result.stderr
