"""Pairs of photographs: read by name, repainted, and measured by a feature model."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import Dinov2Config, Dinov2Model

from checkpoints.load import LoadedModels
from core.params.transfer import MatchingParams, TransferParams
from lab.photographs.features import FeatureModel, FeatureModelError, load_feature_model
from lab.photographs.figures import dino_i, gram, self_similarity
from lab.photographs.folder import BadFolder, find_pairs
from lab.photographs.methods import METHODS_WITHOUT_TRUTH
from lab.photographs.report import photographs_page
from lab.photographs.run import PhotographPlan, evaluate_photographs
from lab.photographs.summary import photographs_table
from tests.tiny import tiny_models

PARAMS = TransferParams(num_inference_steps=2, matching=MatchingParams(ensemble_size=1))


@pytest.fixture(scope="module")
def vit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random DINOv2 of 4-pixel patches, with the preparation that its picture processor would read."""
    folder = tmp_path_factory.mktemp("vit")
    torch.manual_seed(0)
    config = Dinov2Config(hidden_size=16, num_hidden_layers=2, num_attention_heads=2, image_size=32, patch_size=4)
    Dinov2Model(config).save_pretrained(folder)
    preparation = {
        "crop_size": {"height": 24, "width": 24},
        "image_mean": [0.4, 0.5, 0.6],
        "image_std": [0.2, 0.2, 0.2],
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(preparation))
    return folder


@pytest.fixture(scope="module")
def features(vit: Path) -> FeatureModel:
    return load_feature_model(str(vit), torch.device("cpu"))


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    """Two pairs of unequal sizes, the first with masks."""
    rng = np.random.default_rng(0)
    for name, (height, width) in {
        "a-target.png": (60, 80),
        "a-reference.jpg": (50, 70),
        "b-target.png": (64, 64),
        "b-reference.png": (80, 48),
    }.items():
        Image.fromarray(rng.integers(0, 255, (height, width, 3), dtype=np.uint8)).save(tmp_path / name)
    mask = np.zeros((60, 80), np.uint8)
    mask[10:50, 20:70] = 255
    Image.fromarray(mask).save(tmp_path / "a-target-mask.png")
    return tmp_path


def test_pairs_are_read_by_name_with_their_masks(photographs: Path) -> None:
    files = find_pairs(photographs)
    first, second = (one.read() for one in files)
    assert (files[0].name, files[1].name) == ("a", "b")
    assert first.target.image.shape == (60, 80, 3)
    assert int(first.target.part.sum()) == 40 * 50
    assert second.reference.part.all()
    assert first.digest != second.digest


def test_what_is_no_folder_of_pairs_is_refused_with_the_file_named(photographs: Path) -> None:
    with pytest.raises(BadFolder, match="nowhere"):
        find_pairs(photographs / "nowhere")
    Image.new("L", (9, 9), 255).save(photographs / "b-target-mask.png")
    with pytest.raises(BadFolder, match=r"b-target-mask\.png is 9 x 9"):
        find_pairs(photographs)
    (photographs / "b-target-mask.png").write_bytes(b"no picture")
    with pytest.raises(BadFolder, match=r"b-target-mask\.png cannot be read"):
        find_pairs(photographs)
    (photographs / "b-reference.png").unlink()
    with pytest.raises(BadFolder, match="no b-reference"):
        find_pairs(photographs)


def test_a_picture_is_prepared_as_by_the_models_own_processor(vit: Path, features: FeatureModel) -> None:
    """24 x 24 pixels, mean and deviation of the file; then the model itself gives the same."""
    picture = torch.rand(3, 24, 24, generator=torch.Generator().manual_seed(1))
    mean, std = (torch.tensor(value)[:, None, None] for value in ([0.4, 0.5, 0.6], [0.2, 0.2, 0.2]))
    with torch.no_grad():
        expected = Dinov2Model.from_pretrained(vit).eval()(((picture - mean) / std)[None]).last_hidden_state[0]
    seen = features(picture)
    assert seen.grid == (6, 6)
    torch.testing.assert_close(seen.summary, expected[0], rtol=0, atol=1e-5)
    torch.testing.assert_close(seen.tokens, expected[1:], rtol=0, atol=1e-5)
    wide = features(torch.rand(3, 40, 120))
    assert wide.grid == (3, 10), "the area of 24 x 24, the picture's own aspect"
    assert wide.keys.shape == (30, 16)


def test_distances_to_oneself_are_nothing_and_masks_count(features: FeatureModel) -> None:
    generator = torch.Generator().manual_seed(2)
    picture, other = torch.rand(2, 3, 24, 24, generator=generator)
    other[:, :, :12] = picture[:, :, :12]
    seen, seen_other = features(picture), features(other)
    everywhere, left = torch.ones(24, 24), torch.zeros(24, 24)
    left[:, :12] = 1.0
    assert self_similarity(seen, seen) == 0.0
    assert gram(seen, seen, everywhere, everywhere) == 0.0
    assert dino_i(seen, seen) == pytest.approx(1.0)
    assert self_similarity(seen, seen_other) > 0.0
    assert gram(seen_other, seen, left, left) != gram(seen_other, seen, everywhere, everywhere)


def test_self_similarity_is_the_slow_formula(features: FeatureModel) -> None:
    pictures = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(3))
    one, two = (features(picture) for picture in pictures)
    tokens = range(len(one.keys))
    cosine = torch.nn.functional.cosine_similarity
    squares = [
        (cosine(one.keys[i], one.keys[j], dim=0) - cosine(two.keys[i], two.keys[j], dim=0)) ** 2
        for i in tokens
        for j in tokens
    ]
    assert self_similarity(one, two) == pytest.approx(float(torch.stack(squares).mean()), rel=1e-4)


@pytest.mark.parametrize("name", ["nowhere", "facebook/dinov2-base", "facebook/dinov2-base@main"])
def test_a_model_without_folder_or_commit_is_refused(name: str) -> None:
    with pytest.raises(FeatureModelError, match="commit"):
        load_feature_model(name, torch.device("cpu"))


def test_methods_are_compared_on_photographs(photographs: Path, features: FeatureModel, tmp_path: Path) -> None:
    loaded = LoadedModels(tiny_models(), id="tiny", revision="0", device="cpu", dtype="float32")
    assert not {"truth", "oracle"} & set(METHODS_WITHOUT_TRUTH)
    pairs, folder = find_pairs(photographs), tmp_path / "kept"
    plan = PhotographPlan(("ours", "reinhard", "warp", "identity"), PARAMS, seed=0)
    report = evaluate_photographs(loaded, pairs, plan, folder, features)
    assert report["methods"]["identity"]["self_similarity"]["mean"] == 0.0
    assert report["methods"]["ours"]["self_similarity"]["mean"] > 0.0
    assert "reinhard" in photographs_table(report)
    page = photographs_page(report, folder)
    assert page.count("data:image/jpeg;base64,") == 2
    written = (folder / "a.json").stat().st_mtime_ns
    assert evaluate_photographs(loaded, pairs, plan, folder, features) == report
    assert (folder / "a.json").stat().st_mtime_ns == written
