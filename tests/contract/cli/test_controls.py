"""Regions, several seeds, presets and explanations from the command line."""

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from cli.main import main

FEW = [
    "--param",
    "num_inference_steps=2",
    "--param",
    "matching.ensemble_size=1",
    "--param",
    "matching.neighbor_weight=0",
]


@pytest.fixture
def pictures(tmp_path: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setenv("PLUMAGE_MODEL", str(checkpoint))
    monkeypatch.setenv("PLUMAGE_DEVICE", "cpu")
    noise = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), dtype=np.uint8)
    for name, pixels in zip(("a", "b", "c"), noise, strict=True):
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
    for name, box in (("left", (4, 8, 28, 56)), ("right", (36, 8, 60, 56))):
        mask = Image.new("L", (64, 64), 0)
        mask.paste(255, box)
        mask.save(tmp_path / f"{name}.png")
    return [str(tmp_path / "a.png"), str(tmp_path / "b.png")]


def plumage(*arguments: str) -> Result:
    return CliRunner().invoke(main, list(arguments))


def test_several_seeds_make_several_pictures_with_regions_of_their_own(pictures: list[str], tmp_path: Path) -> None:
    regions = [{"target_mask": "l"}, {"target_mask": "r", "reference": "other"}]
    named = ["--mask", f"l={tmp_path / 'left.png'}", "--mask", f"r={tmp_path / 'right.png'}"]
    named += ["--picture", f"other={tmp_path / 'c.png'}", "--param", f"masks.regions={json.dumps(regions)}"]
    out = tmp_path / "new" / "out.png"
    done = plumage(
        "transfer", *pictures, "-o", str(out), "--preset", "fast", "--seed", "3", "--seed", "4", *FEW, *named
    )
    assert done.exit_code == 0, done.output
    made = [np.asarray(Image.open(out.with_name(f"out-{seed}.png"))) for seed in (3, 4)]
    assert not out.exists()
    assert (made[0] != made[1]).any()
    before = np.asarray(Image.open(pictures[0]))
    for image in made:
        assert (image[:, 28:36] == before[:, 28:36]).all()
        assert (image[8:56, 4:28] != before[8:56, 4:28]).any()
        assert (image[8:56, 36:60] != before[8:56, 36:60]).any()


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--param", 'masks.regions=[{"target_mask": "l"}]'], "--mask l=FILE: needed"),
        (["--mask", "l=left.png"], "--mask l=FILE: named by no region"),
        (["--picture", "leaf"], "NAME=FILE expected"),
        (["--picture", "Leaf=x.png"], "NAME=FILE expected"),
        (["--mask", "l=a.png", "--mask", "l=b.png"], "given twice"),
        (["--param", "preset=best"], "preset"),
    ],
)
def test_names_that_do_not_fit_are_refused(pictures: list[str], tmp_path: Path, options: list[str], named: str) -> None:
    done = plumage("transfer", *pictures, "-o", str(tmp_path / "out.png"), *options)
    assert done.exit_code == 2
    assert named in done.stderr


def test_an_explanation_is_a_picture_and_numbers(pictures: list[str], tmp_path: Path) -> None:
    out, numbers = tmp_path / "why.png", tmp_path / "why.json"
    options = ["-o", str(out), "--json", str(numbers), "--at", "0.25", "0.5", "--layer", "up_blocks.1"]
    done = plumage("explain", *pictures, *options, *FEW, "--param", "injection.range=[1, 0]")
    assert done.exit_code == 0, done.output
    found = json.loads(numbers.read_text())
    assert found["place"] == [0.25, 0.5]
    assert set(found["layers"]) == {f"up_blocks.1.attentions.{number}.transformer_blocks.0.attn1" for number in (0, 1)}
    steps = len(found["noise_levels"])
    assert steps >= 1
    assert all(len(layer["places"]) == len(layer["similarity"]) == steps for layer in found["layers"].values())
    with Image.open(out) as sheet:
        assert sheet.height > 3 * 64
    outside = plumage("explain", *pictures, *options, *FEW, "--target-mask", str(tmp_path / "right.png"))
    assert outside.exit_code == 1
    assert "nothing is repainted" in outside.stderr
