"""A LoRA is part of the loaded weights."""

from pathlib import Path

import pytest
import torch
from diffusers import StableDiffusionXLPipeline
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict

from checkpoints.errors import CheckpointUnsupported, RevisionNotPinned
from checkpoints.load import load
from checkpoints.settings import ModelSettings
from tests.tiny import tiny_pipeline

LAYER = "up_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"
RANK = 2


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoint")
    tiny_pipeline().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def lora(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As training scripts of diffusers write it."""
    folder = tmp_path_factory.mktemp("lora")
    pipeline = StableDiffusionXLPipeline.from_pretrained(checkpoint)
    pipeline.unet.add_adapter(LoraConfig(r=RANK, lora_alpha=RANK, target_modules=["to_q", "to_v"]))
    generator = torch.Generator().manual_seed(0)
    for name, weight in pipeline.unet.named_parameters():
        if "lora_" in name:
            weight.data = torch.randn(weight.shape, generator=generator)
    StableDiffusionXLPipeline.save_lora_weights(
        folder, unet_lora_layers=get_peft_model_state_dict(pipeline.unet), safe_serialization=True
    )
    return folder


def weights(settings: ModelSettings) -> dict[str, torch.Tensor]:
    return dict(load(settings).models.unet.state_dict())


@pytest.mark.parametrize("scale", [1.0, 0.25])
def test_its_product_is_added_to_the_weights(checkpoint: Path, lora: Path, scale: float) -> None:
    from safetensors.torch import load_file

    before = weights(ModelSettings(model=str(checkpoint)))
    loaded = load(ModelSettings(model=str(checkpoint), lora=str(lora), lora_scale=scale))
    after = loaded.models.unet.state_dict()
    assert after.keys() == before.keys()
    parts = load_file(lora / "pytorch_lora_weights.safetensors")
    down, up = (parts[f"unet.{LAYER}.lora_{side}.weight"] for side in "AB")
    torch.testing.assert_close(after[f"{LAYER}.weight"], before[f"{LAYER}.weight"] + scale * up @ down)
    untouched = LAYER.replace("to_q", "to_k") + ".weight"
    assert torch.equal(after[untouched], before[untouched])
    assert loaded.id == f"{checkpoint.name}+{lora.name}"


def test_one_of_several_files_has_to_be_named(checkpoint: Path, lora: Path, tmp_path: Path) -> None:
    data = (lora / "pytorch_lora_weights.safetensors").read_bytes()
    for name in ("four.safetensors", "eight.safetensors"):
        (tmp_path / name).write_bytes(data)
    with pytest.raises(CheckpointUnsupported, match="2 files of weights: name one in PLUMAGE_LORA_FILE"):
        load(ModelSettings(model=str(checkpoint), lora=str(tmp_path)))
    chosen = weights(ModelSettings(model=str(checkpoint), lora=str(tmp_path), lora_file="four.safetensors"))
    assert not torch.equal(chosen[f"{LAYER}.weight"], weights(ModelSettings(model=str(checkpoint)))[f"{LAYER}.weight"])


def test_what_is_no_lora_of_this_checkpoint_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    with pytest.raises(CheckpointUnsupported, match=r"no \.safetensors"):
        load(ModelSettings(model=str(checkpoint), lora=str(tmp_path)))
    save_file({"unet.nowhere.to_q.lora_A.weight": torch.ones(2, 8)}, tmp_path / "other.safetensors")
    with pytest.raises(CheckpointUnsupported, match=r"PLUMAGE_LORA=.*cannot be loaded"):
        load(ModelSettings(model=str(checkpoint), lora=str(tmp_path)))
    (tmp_path / "other.safetensors").write_bytes(b"no weights")
    with pytest.raises(CheckpointUnsupported, match="cannot be loaded"):
        load(ModelSettings(model=str(checkpoint), lora=str(tmp_path)))


def test_a_hub_id_needs_its_commit(checkpoint: Path) -> None:
    with pytest.raises(RevisionNotPinned, match="PLUMAGE_LORA_REVISION"):
        load(ModelSettings(model=str(checkpoint), lora="owner/lightning"))
