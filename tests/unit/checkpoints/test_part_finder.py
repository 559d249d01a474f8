import json
from pathlib import Path

import pytest
import torch

from checkpoints.errors import CheckpointNotFound, CheckpointUnsupported, RevisionNotPinned
from checkpoints.optional import load_part_finder
from tests.tiny_vision import tiny_part_finder, tiny_vision

CPU = torch.device("cpu")
RECIPE = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3, "size": {"shortest_edge": 40}, "crop_size": 32}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    finder = tiny_part_finder()
    finder.model.save_pretrained(tmp_path)
    finder.tokenizer.save_pretrained(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(RECIPE))
    return tmp_path


def test_a_folder_gives_clip_with_its_words_and_its_pictures(folder: Path) -> None:
    loaded = load_part_finder(str(folder), None, CPU)
    assert (loaded.processor.image_mean, loaded.processor.image_std, loaded.side_px) == ((0.5,) * 3, (0.5,) * 3, 32)
    picture = torch.rand(3, 32, 32)
    expected = tiny_part_finder().shares(picture, ["wing", "tail"], (4, 4))
    torch.testing.assert_close(loaded.shares(picture, ["wing", "tail"], (4, 4)), expected)


def test_what_cannot_be_used_is_named(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(RevisionNotPinned, match="PLUMAGE_PART_FINDER_REVISION"):
        load_part_finder("owner/name", None, CPU)
    with pytest.raises(CheckpointNotFound):
        load_part_finder("no such folder", None, CPU)
    (folder / "preprocessor_config.json").unlink()
    with pytest.raises(CheckpointUnsupported, match="PLUMAGE_PART_FINDER"):
        load_part_finder(str(folder), None, CPU)
    tiny_vision().network.save_pretrained(tmp_path / "dino")
    with pytest.raises(CheckpointUnsupported, match="'dinov2'"):
        load_part_finder(str(tmp_path / "dino"), None, CPU)
