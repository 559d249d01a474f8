"""Optional models from folders as the hub lays them out."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from checkpoints.errors import CheckpointNotFound, CheckpointUnsupported, RevisionNotPinned
from checkpoints.load import load
from checkpoints.optional import load_segmenter, load_text_segmenter, parse_recipe
from checkpoints.settings import ModelSettings
from core.models.preprocessing import Recipe
from tests.tiny import tiny_pipeline
from tests.tiny_segmenters import (
    CLIPSEG_PICTURES,
    IMAGENET,
    SAM2_PICTURES,
    SAM_PICTURES,
    save,
    tiny_clipseg,
    tiny_sam,
    tiny_sam2,
    tiny_sam_hq,
    tiny_segmenter,
    tiny_text_segmenter,
)

CPU = torch.device("cpu")
PICTURE = torch.rand(3, 30, 50, generator=torch.Generator().manual_seed(3))


@pytest.fixture
def sam2(tmp_path: Path) -> Path:
    return save(tiny_sam2(), SAM2_PICTURES, tmp_path / "sam2")


@pytest.fixture
def clipseg(tmp_path: Path) -> Path:
    return save(tiny_clipseg(), CLIPSEG_PICTURES, tmp_path / "clipseg")


def test_what_is_configured_is_loaded_and_named(tmp_path: Path, sam2: Path, clipseg: Path) -> None:
    tiny_pipeline().save_pretrained(tmp_path / "sdxl")
    chosen = {"model": str(tmp_path / "sdxl"), "device": "cpu"}
    assert load(ModelSettings.model_validate(chosen)).optional_models == ()
    chosen |= {"segmenter": str(sam2), "text_segmenter": str(clipseg)}
    loaded = load(ModelSettings.model_validate(chosen))
    assert loaded.optional_models == ("segmenter", "text_segmenter")
    assert loaded.models.segmenter is not None
    assert loaded.models.text_segmenter is not None
    box = (0.1, 0.2, 0.7, 0.8)
    # To rounding: weights that lie elsewhere in memory may be multiplied in another order.
    torch.testing.assert_close(
        loaded.models.segmenter.outline(PICTURE, box=box), tiny_segmenter().outline(PICTURE, box=box)
    )
    torch.testing.assert_close(
        loaded.models.text_segmenter.find(PICTURE, "wing"), tiny_text_segmenter().find(PICTURE, "wing")
    )


@pytest.mark.parametrize("make", [tiny_sam, tiny_sam_hq])
def test_older_kinds_load_by_their_own_name(tmp_path: Path, make: Any) -> None:
    folder = save(make(), SAM_PICTURES, tmp_path / "sam")
    assert load_segmenter(str(folder), None, CPU).recipe.keep_aspect


def test_the_published_sam_2_calls_itself_a_video_model(sam2: Path) -> None:
    config = json.loads((sam2 / "config.json").read_text())
    (sam2 / "config.json").write_text(json.dumps({**config, "model_type": "sam2_video"}))
    box = (0.1, 0.2, 0.7, 0.8)
    found = load_segmenter(str(sam2), None, CPU).outline(PICTURE, box=box)
    assert torch.equal(found, tiny_segmenter().outline(PICTURE, box=box))


def test_what_is_no_such_model_is_refused_with_its_setting(clipseg: Path, sam2: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointUnsupported, match=r"PLUMAGE_SEGMENTER=.*'clipseg'"):
        load_segmenter(str(clipseg), None, CPU)
    with pytest.raises(CheckpointUnsupported, match=r"PLUMAGE_TEXT_SEGMENTER=.*'sam2'"):
        load_text_segmenter(str(sam2), None, CPU)
    (sam2 / "preprocessor_config.json").unlink()
    with pytest.raises(CheckpointUnsupported, match="PLUMAGE_SEGMENTER"):
        load_segmenter(str(sam2), None, CPU)
    with pytest.raises(RevisionNotPinned, match="PLUMAGE_SEGMENTER_REVISION"):
        load_segmenter("facebook/sam2.1-hiera-small", "main", CPU)
    with pytest.raises(CheckpointNotFound):
        load_segmenter(str(tmp_path / "nowhere"), None, CPU)


@pytest.mark.parametrize(
    ("config", "recipe"),
    [
        ({"size": 352}, Recipe((352, 352), False, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))),
        (
            {"size": {"height": 8, "width": 16}, "resample": 3},
            Recipe((8, 16), False, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), "bicubic"),
        ),
        (
            {"size": {"longest_edge": 64}, "do_normalize": False},
            Recipe((64, 64), True, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
        ),
    ],
)
def test_a_recipe_is_what_the_file_says(config: dict[str, Any], recipe: Recipe) -> None:
    assert parse_recipe({**IMAGENET, **config}) == recipe


@pytest.mark.parametrize(
    "config",
    [
        {"size": {"shortest_edge": 64}},
        {"size": 8, "resample": 1},
        {"size": {"longest_edge": 64}, "pad_size": {"height": 32, "width": 32}},
    ],
)
def test_a_recipe_that_cannot_be_followed_is_refused(config: dict[str, Any]) -> None:
    with pytest.raises((ValueError, KeyError)):
        parse_recipe({**IMAGENET, **config})
