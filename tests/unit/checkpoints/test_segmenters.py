"""Optional models from folders as the hub lays them out."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from checkpoints.errors import CheckpointNotFound, CheckpointUnsupported, RevisionNotPinned
from checkpoints.load import load
from checkpoints.optional import load_segmenter, load_text_segmenter
from checkpoints.settings import ModelSettings
from core.models.preprocessing import SamProcessor, prepare
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
    assert isinstance(load_segmenter(str(folder), None, CPU).processor, SamProcessor)


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


def test_sizes_are_those_of_the_file(tmp_path: Path) -> None:
    """In the spellings of files of several ages."""
    spellings: list[tuple[dict[str, Any], tuple[int, int]]] = [
        ({"size": 32}, (32, 32)),
        ({"size": {"height": 16, "width": 32}, "resample": 3}, (16, 32)),
    ]
    for number, (config, size) in enumerate(spellings):
        folder = save(tiny_clipseg(), {**IMAGENET, **config}, tmp_path / str(number))
        prepared = prepare(load_text_segmenter(str(folder), None, CPU).processor, PICTURE)
        assert prepared.pixels.shape[2:] == prepared.inner_size == size
    folder = save(tiny_sam(), {**IMAGENET, "size": {"longest_edge": 64}}, tmp_path / "sam")
    padded = {**IMAGENET, "size": {"longest_edge": 64}, "pad_size": {"height": 64, "width": 64}, "do_normalize": False}
    (folder / "preprocessor_config.json").write_text(json.dumps(padded))
    prepared = prepare(load_segmenter(str(folder), None, CPU).processor, torch.ones(3, 30, 60))
    assert (prepared.pixels.shape[2:], prepared.inner_size) == ((64, 64), (32, 64))
    assert torch.equal(prepared.pixels[0, :, :32], torch.ones(3, 32, 64))
    assert torch.equal(prepared.pixels[0, :, 32:], torch.zeros(3, 32, 64))


@pytest.mark.parametrize(
    ("config", "load"),
    [
        ({"size": {"shortest_edge": 64}}, load_segmenter),
        ({"size": {"longest_edge": 64}, "pad_size": {"height": 32, "width": 32}}, load_segmenter),
        ({"size": {"shortest_edge": 64}}, load_text_segmenter),
        ({"size": 32, "resample": 9}, load_text_segmenter),
    ],
)
def test_values_that_no_picture_could_be_prepared_with_are_refused(
    tmp_path: Path, config: dict[str, Any], load: Callable[..., object]
) -> None:
    model = tiny_sam() if load is load_segmenter else tiny_clipseg()
    folder = save(model, {**IMAGENET, **config}, tmp_path / "model")
    with pytest.raises(CheckpointUnsupported, match="cannot be loaded"):
        load(str(folder), None, CPU)
