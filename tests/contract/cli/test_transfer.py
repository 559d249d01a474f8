"""`plumage transfer`: pictures in, picture out, in one process."""

from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from PIL import Image

from cli.main import main

FEW = ["--param", "num_inference_steps=2", "--param", "matching.ensemble_size=1"]


@pytest.fixture
def pictures(tmp_path: Path) -> tuple[str, str]:
    gradient = Image.linear_gradient("L")
    gradient.resize((90, 60)).convert("RGB").save(tmp_path / "target.png")
    gradient.rotate(90).resize((64, 80)).convert("RGB").save(tmp_path / "reference.png")
    mask = Image.new("L", (90, 60), 0)
    mask.paste(255, (20, 20, 60, 50))
    mask.save(tmp_path / "mask.png")
    return str(tmp_path / "target.png"), str(tmp_path / "reference.png")


@pytest.fixture
def _checkpoint_chosen(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLUMAGE_MODEL", str(checkpoint))
    monkeypatch.setenv("PLUMAGE_DEVICE", "cpu")


def plumage(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["transfer", *arguments])


@pytest.mark.usefixtures("_checkpoint_chosen")
def test_the_same_seed_gives_the_same_bytes_at_the_targets_size(pictures: tuple[str, str], tmp_path: Path) -> None:
    first, second, other = (tmp_path / name for name in ("first.png", "second.png", "other.png"))
    for out, seed in ((first, "3"), (second, "3"), (other, "4")):
        result = plumage(*pictures, "-o", str(out), "--seed", seed, *FEW)
        assert result.exit_code == 0, result.output
    assert result.stdout == ""
    assert f"seed {seed}" in result.stderr
    assert first.read_bytes() == second.read_bytes() != other.read_bytes()
    with Image.open(first) as made:
        assert (made.size, made.mode) == ((90, 60), "RGB")


@pytest.mark.usefixtures("_checkpoint_chosen")
def test_outside_the_mask_the_target_stays(pictures: tuple[str, str], tmp_path: Path) -> None:
    out = tmp_path / "out.png"
    result = plumage(
        *pictures,
        "-o",
        str(out),
        *FEW,
        "--target-mask",
        str(tmp_path / "mask.png"),
        "--masks-out",
        str(tmp_path / "masks"),
    )
    assert result.exit_code == 0, result.output
    assert [path.name for path in (tmp_path / "masks").iterdir()] == ["target-mask.png"]
    with Image.open(tmp_path / "masks" / "target-mask.png") as used, Image.open(tmp_path / "mask.png") as given:
        assert used.tobytes() == given.tobytes()
    with Image.open(out) as made, Image.open(pictures[0]) as target:
        for box in ((0, 0, 90, 20), (0, 0, 20, 60), (60, 0, 90, 60), (0, 50, 90, 60)):
            assert made.crop(box).tobytes() == target.crop(box).tobytes()
        assert made.tobytes() != target.tobytes()


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--param", "num_inference_step=2"], "num_inference_step: unknown; did you mean num_inference_steps?"),
        (["--param", "num_inference_steps=1"], "num_inference_steps"),
        (["--param", "num_inference_steps"], "key=value"),
        (["--param", "eta=1", "--param", "eta=1"], "twice"),
        (["--target-mask", "nowhere.png"], "nowhere.png"),
        (["--target-mask", "reference.png"], "px"),
        (["-o", "out.gif"], ".png"),
    ],
)
def test_bad_input_is_one_line(
    pictures: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], named: str
) -> None:
    monkeypatch.chdir(tmp_path)
    result = plumage(*pictures, "-o", "out.png", *arguments)
    assert result.exit_code == 2
    assert len(result.stderr.splitlines()) == 1
    assert named in result.stderr
    assert not (tmp_path / "out.png").exists()


def test_a_file_that_is_no_picture_is_named(pictures: tuple[str, str], tmp_path: Path) -> None:
    junk = tmp_path / "junk.png"
    junk.write_text("no picture")
    result = plumage(str(junk), pictures[1], "-o", str(tmp_path / "out.png"))
    assert result.exit_code == 2
    assert "junk.png" in result.stderr


def test_a_checkpoint_that_is_not_there_is_named(
    pictures: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLUMAGE_MODEL", "/nowhere/sdxl")
    result = plumage(*pictures, "-o", str(tmp_path / "out.png"))
    assert result.exit_code == 2
    assert "/nowhere/sdxl" in result.stderr


def test_parameters_are_listed_with_their_defaults() -> None:
    result = plumage("--list-params")
    assert result.exit_code == 0
    assert "num_inference_steps=20\n    Number of steps" in result.stdout


@pytest.mark.usefixtures("_checkpoint_chosen")
def test_a_box_without_a_model_for_it_names_what_to_configure(pictures: tuple[str, str], tmp_path: Path) -> None:
    selection = 'masks.target_selection={"box": [0.1, 0.1, 0.9, 0.9]}'
    result = plumage(*pictures, "-o", str(tmp_path / "out.png"), *FEW, "--param", selection)
    assert result.exit_code != 0
    assert "PLUMAGE_SEGMENTER" in result.stderr
