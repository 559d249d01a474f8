import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from checkpoints.errors import CheckpointNotFound, CheckpointUnsupported, RevisionNotPinned
from checkpoints.optional import load_salient
from checkpoints.settings import MINI

CPU = torch.device("cpu")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(MINI / "salient", tmp_path / "salient"))


def test_the_shipped_network_is_loaded_in_float32(folder: Path) -> None:
    finder = load_salient(str(folder), None, CPU)
    assert finder.side_px == 320
    assert {parameter.dtype for parameter in finder.network.parameters()} == {torch.float32}
    assert not any(parameter.requires_grad for parameter in finder.network.parameters())
    stored = load_file(folder / "model.safetensors")
    torch.testing.assert_close(finder.network.encoder.stem.weight.half(), stored["encoder.stem.weight"])


def test_it_tells_a_thing_from_its_surroundings() -> None:
    picture = torch.full((3, 320, 320), 0.8)
    picture[:, 160:] = torch.tensor([0.5, 0.4, 0.3])[:, None, None]
    y, x = torch.meshgrid(torch.arange(320), torch.arange(320), indexing="ij")
    ball = (y - 150) ** 2 + (x - 170) ** 2 < 70**2
    picture[:, ball] = torch.tensor([0.8, 0.15, 0.1])[:, None]
    chances, _ = load_salient(str(MINI / "salient"), None, CPU).read(picture)
    found, truth = chances > 0.5, ball[::2, ::2]
    assert float((found & truth).sum() / (found | truth).sum()) > 0.8


def test_what_cannot_be_used_is_named(folder: Path) -> None:
    with pytest.raises(RevisionNotPinned, match="PLUMAGE_SALIENT_REVISION"):
        load_salient("owner/name", None, CPU)
    with pytest.raises(CheckpointNotFound):
        load_salient("no such folder", None, CPU)
    weights = load_file(folder / "model.safetensors")
    save_file({name: value for name, value in weights.items() if "coarse" not in name}, folder / "model.safetensors")
    with pytest.raises(CheckpointUnsupported, match="PLUMAGE_SALIENT"):
        load_salient(str(folder), None, CPU)
    (folder / "config.json").write_text(json.dumps({"model_type": "dinov2"}))
    with pytest.raises(CheckpointUnsupported, match="'dinov2'"):
        load_salient(str(folder), None, CPU)
