import json
from pathlib import Path

import pytest
import torch
from transformers import BertConfig, BertModel

from checkpoints.errors import CheckpointNotFound, CheckpointUnsupported, RevisionNotPinned
from checkpoints.optional import load_correspondence
from tests.tiny_vision import tiny_vision

CPU = torch.device("cpu")
RECIPE = {
    "image_mean": [0.4, 0.5, 0.6],
    "image_std": [0.2, 0.2, 0.2],
    "size": {"shortest_edge": 72},
    "crop_size": {"height": 64, "width": 64},
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tiny_vision().network.save_pretrained(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(RECIPE))
    return tmp_path


def test_a_folder_gives_the_model_and_how_its_input_is_normalised(folder: Path) -> None:
    loaded = load_correspondence(str(folder), None, CPU)
    assert (loaded.mean, loaded.std, loaded.side_px) == ((0.4, 0.5, 0.6), (0.2, 0.2, 0.2), 64)
    picture = torch.rand(1, 3, 32, 32)
    expected = tiny_vision().network(pixel_values=picture).last_hidden_state
    torch.testing.assert_close(loaded.network(pixel_values=picture).last_hidden_state, expected)


@pytest.mark.parametrize("size", [64, {"height": 64, "width": 64}, {"shortest_edge": 64}])
def test_the_side_is_read_in_every_spelling(folder: Path, size: object) -> None:
    (folder / "preprocessor_config.json").write_text(json.dumps({**RECIPE, "size": size, "crop_size": None}))
    assert load_correspondence(str(folder), None, CPU).side_px == 64


def test_the_configuration_says_what_it_weighs_beside_the_unet(folder: Path) -> None:
    assert load_correspondence(str(folder), None, CPU).fusion_weight == 1.0
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "fusion_weight": 2.5}))
    assert load_correspondence(str(folder), None, CPU).fusion_weight == 2.5
    for wrong in (0.0, -1.0, 1e999, "much", None):
        (folder / "config.json").write_text(json.dumps({**config, "fusion_weight": wrong}))
        with pytest.raises(CheckpointUnsupported, match="PLUMAGE_CORRESPONDENCE"):
            load_correspondence(str(folder), None, CPU)


def test_what_cannot_be_used_is_named(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(RevisionNotPinned, match="PLUMAGE_CORRESPONDENCE_REVISION"):
        load_correspondence("owner/name", None, CPU)
    with pytest.raises(CheckpointNotFound):
        load_correspondence("no such folder", None, CPU)
    (folder / "preprocessor_config.json").unlink()
    with pytest.raises(CheckpointUnsupported, match="PLUMAGE_CORRESPONDENCE"):
        load_correspondence(str(folder), None, CPU)
    other = tmp_path / "bert"
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8}
    BertModel(BertConfig(vocab_size=9, **sizes)).save_pretrained(other)
    with pytest.raises(CheckpointUnsupported, match="'bert'"):
        load_correspondence(str(other), None, CPU)
