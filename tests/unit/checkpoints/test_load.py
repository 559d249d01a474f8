"""Checkpoints as the hub lays them out, made here at random and loaded offline."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL

from checkpoints.devices import choose_device, choose_dtype
from checkpoints.errors import CheckpointNotFound, CheckpointUnsupported, DeviceUnavailable, RevisionNotPinned
from checkpoints.load import load
from checkpoints.manifest import folder_digest
from checkpoints.settings import ModelSettings
from core.params.transfer import MatchingParams, TransferParams
from core.pipeline import TransferInputs, transfer
from tests.tiny import tiny_pipeline
from worker.warm import warm_up

FAST = TransferParams(num_inference_steps=2, strength=1.0, matching=MatchingParams(ensemble_size=1))


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoints") / "plain"
    tiny_pipeline().save_pretrained(folder, safe_serialization=True)
    return folder


@pytest.fixture
def copied(plain: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(plain, tmp_path / "copied"))


def settings(folder: Path, **more: object) -> ModelSettings:
    return ModelSettings.model_validate({"model": str(folder), "device": "cpu", **more})


def test_a_plain_folder_loads_and_makes_the_same_picture_as_the_models_that_were_saved(plain: Path) -> None:
    loaded = load(settings(plain))
    assert (loaded.id, loaded.device, loaded.dtype) == ("plain", "cpu", "float32")
    assert loaded.revision == folder_digest(plain)
    pictures = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    inputs = TransferInputs(pictures[0], pictures[1], prompt="wing")
    first = transfer(loaded.models, inputs, FAST, seed=3)
    again = transfer(load(settings(plain)).models, inputs, FAST, seed=3)
    assert torch.equal(first.image, again.image)
    assert not loaded.models.unet.training
    assert all(not parameter.requires_grad for parameter in loaded.models.unet.parameters())


def test_variant_files_in_shards_with_a_replacement_vae_run_a_transfer(tmp_path: Path) -> None:
    """As SDXL lies on the hub: `*.fp16.safetensors`, large ones in shards with an index, and the fp16-fix VAE."""
    folder, vae_folder = tmp_path / "sdxl", tmp_path / "sdxl-vae-fp16-fix"
    pipeline = tiny_pipeline(dtype=torch.float16)
    pipeline.save_pretrained(folder, safe_serialization=True, variant="fp16", max_shard_size="200KB")
    shards = sorted(path.name for path in (folder / "unet").glob("*.safetensors"))
    assert len(shards) > 1
    assert all(".fp16-" in name for name in shards)
    config = {name: value for name, value in pipeline.vae.config.items() if not name.startswith("_")}
    replacement = AutoencoderKL.from_config({**config, "scaling_factor": 0.25, "force_upcast": False})
    replacement.save_pretrained(vae_folder, safe_serialization=True)

    loaded = load(settings(folder, vae=str(vae_folder), dtype="bfloat16"))
    assert loaded.id == "sdxl+sdxl-vae-fp16-fix"
    assert loaded.models.vae.config.scaling_factor == 0.25
    assert loaded.models.vae.dtype == loaded.models.unet.dtype == torch.bfloat16
    result = transfer(loaded.models, TransferInputs(*torch.rand(2, 3, 64, 64)), FAST, seed=0)
    assert result.image.float().std() > 0


def test_a_vae_that_overflows_in_half_precision_is_kept_in_float32(plain: Path) -> None:
    loaded = load(settings(plain, dtype="bfloat16"))
    assert loaded.models.vae.config.force_upcast
    assert loaded.models.vae.dtype == torch.float32
    assert loaded.models.unet.dtype == torch.bfloat16
    assert loaded.models.trajectory_dtype == torch.float32


def test_warming_up_is_a_real_transfer(plain: Path) -> None:
    loaded = load(settings(plain))
    assert warm_up(loaded.models).image.shape == (64, 64, 3)


def test_pickled_weights_are_refused(copied: Path) -> None:
    weights = copied / "unet" / "diffusion_pytorch_model.safetensors"
    torch.save({}, copied / "unet" / "diffusion_pytorch_model.bin")
    weights.unlink()
    with pytest.raises(CheckpointUnsupported, match="PLUMAGE_MODEL"):
        load(settings(copied))


def test_truncated_weights_are_refused(copied: Path) -> None:
    weights = copied / "unet" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(CheckpointUnsupported):
        load(settings(copied))


def test_a_checkpoint_of_another_kind_is_refused_with_what_it_lacks(copied: Path) -> None:
    index = json.loads((copied / "model_index.json").read_text())
    index["text_encoder"] = [None, None]
    (copied / "model_index.json").write_text(json.dumps(index))
    with pytest.raises(CheckpointUnsupported, match="without text_encoder"):
        load(settings(copied))
    with pytest.raises(CheckpointUnsupported, match="model_index"):
        load(settings(copied / "unet"))


@pytest.mark.parametrize("revision", [None, "main", "abc123", "G" * 40])
def test_a_hub_id_needs_a_full_commit_hash(revision: str | None) -> None:
    with pytest.raises(RevisionNotPinned, match="PLUMAGE_MODEL_REVISION"):
        load(ModelSettings(model="owner/name", model_revision=revision, device="cpu"))


def test_a_folder_that_is_not_there_is_not_taken_for_a_hub_id() -> None:
    with pytest.raises(CheckpointNotFound, match="/no/such/folder"):
        load(ModelSettings(model="/no/such/folder", device="cpu"))


def test_devices_and_precisions_that_are_not_to_be_had_are_errors() -> None:
    with pytest.raises(DeviceUnavailable, match="PLUMAGE_DEVICE"):
        choose_device("quantum")
    with pytest.raises(DeviceUnavailable, match="float16"):
        choose_dtype("float16", torch.device("cpu"))
    assert choose_dtype("auto", torch.device("cpu")) == torch.float32


def test_nobody_is_advised_to_install_torchvision() -> None:
    done = subprocess.run([sys.executable, "-c", "import checkpoints.load"], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")
