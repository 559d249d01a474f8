"""Manifests of real checkpoints, in folders and laid out as the hub's cache is."""

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from checkpoints.errors import CheckpointMismatch, CheckpointNotFound
from checkpoints.hub import download_network, source_of
from checkpoints.load import load
from checkpoints.manifest import fingerprints, folder_digest, verify, write_manifest
from checkpoints.settings import MINI, ModelSettings
from cli.commands.models import models
from tests.tiny import tiny_pipeline

COMMIT = "c0ffee" + "0" * 34


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoints") / "plain"
    tiny_pipeline().save_pretrained(folder, safe_serialization=True)
    write_manifest(folder, folder / "manifest.json")
    return folder


@pytest.fixture
def copied(plain: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(plain, tmp_path / "copied"))


@pytest.fixture
def hub(plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The files of `owner/name` at COMMIT, as the hub's client keeps what it has downloaded; there is no way to it."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    folder = tmp_path / "cache" / "models--owner--name" / "snapshots" / COMMIT
    shutil.copytree(plain, folder, ignore=shutil.ignore_patterns("manifest.json"))
    return folder


def settings(folder: Path, **more: object) -> ModelSettings:
    return ModelSettings.model_validate({"model": str(folder), "device": "cpu", **more})


def ask(*words: str, **variables: str) -> Result:
    return CliRunner().invoke(models, words, env=variables)


def test_the_manifest_of_the_small_checkpoint_is_current() -> None:
    """Weights that were replaced: `plumage models pin models/mini`"""
    assert verify(MINI, MINI / "manifest.json")


def test_what_matches_loads_and_keeps_the_digest_of_its_files(copied: Path) -> None:
    assert load(settings(copied)).revision == folder_digest(copied)
    (copied / "README.md").write_text("nothing that is loaded")
    (copied / "manifest.json").unlink()
    assert load(settings(copied)).revision == folder_digest(copied)


def _changed(folder: Path) -> None:
    path = folder / "vae" / "diffusion_pytorch_model.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def _added(folder: Path) -> None:
    (folder / "unet" / "diffusion_pytorch_model.fp16.safetensors").write_bytes(b"")


def _removed(folder: Path) -> None:
    (folder / "tokenizer" / "tokenizer_config.json").unlink()


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (_changed, "vae/diffusion_pytorch_model.safetensors has other bytes"),
        (_added, "unet/diffusion_pytorch_model.fp16.safetensors is not in the manifest"),
        (_removed, "tokenizer/tokenizer_config.json is missing"),
        (lambda folder: (folder / "manifest.json").write_text("{}"), "is no manifest"),
    ],
)
def test_a_folder_that_does_not_match_is_not_loaded(copied: Path, harm: object, message: str) -> None:
    assert callable(harm)
    harm(copied)
    with pytest.raises(CheckpointMismatch, match=f"PLUMAGE_MODEL.*{message}"):
        load(settings(copied))


def test_a_folder_of_manifests_binds_every_model(copied: Path, tmp_path: Path) -> None:
    """Also against who may write the model's folder: what lies there counts no more."""
    chosen = settings(copied, manifests=tmp_path / "manifests")
    with pytest.raises(CheckpointMismatch, match=r"no manifest .*copied\.json"):
        load(chosen)
    write_manifest(copied, tmp_path / "manifests" / "copied.json")
    load(chosen)
    _changed(copied)
    write_manifest(copied, copied / "manifest.json")
    with pytest.raises(CheckpointMismatch, match="other bytes"):
        load(chosen)
    replaced = settings(MINI, vae=str(copied / "vae"), manifests=tmp_path / "manifests")
    write_manifest(MINI, tmp_path / "manifests" / "mini.json")
    with pytest.raises(CheckpointMismatch, match=r"PLUMAGE_VAE.*vae\.json"):
        load(replaced)


def test_what_was_downloaded_is_compared_before_it_is_loaded(hub: Path, tmp_path: Path) -> None:
    manifests = tmp_path / "manifests"
    chosen = settings(Path("owner/name"), model_revision=COMMIT, manifests=manifests)
    write_manifest(hub, manifests / f"owner--name@{COMMIT}.json")
    loaded = load(chosen)
    assert (loaded.id, loaded.revision) == ("owner/name", COMMIT)
    (hub / "unet" / "config.json").write_text("{}")
    with pytest.raises(CheckpointMismatch, match=r"unet/config\.json has other bytes"):
        load(chosen)


@pytest.mark.usefixtures("hub")
def test_what_cannot_be_downloaded_is_named(tmp_path: Path) -> None:
    absent = ModelSettings(correspondence="owner/absent", correspondence_revision=COMMIT, device="cpu")
    source = source_of(absent, "correspondence")
    assert source is not None
    with pytest.raises(CheckpointNotFound, match="PLUMAGE_CORRESPONDENCE=owner/absent"):
        download_network(source)


def test_the_command_writes_and_compares_the_manifest_of_a_folder(copied: Path) -> None:
    assert ask("verify", str(copied)).exit_code == 0
    _changed(copied)
    done = ask("verify", str(copied))
    assert (done.exit_code, "has other bytes" in done.output) == (1, True)
    assert ask("pin", str(copied)).exit_code == 0
    assert json.loads((copied / "manifest.json").read_text())["files"] == fingerprints(copied)
    assert ask("verify", str(copied)).exit_code == 0
    (copied / "manifest.json").unlink()
    assert "no manifest" in ask("verify", str(copied)).output


def test_the_command_goes_through_all_configured_models(hub: Path, copied: Path, tmp_path: Path) -> None:
    chosen = {"PLUMAGE_MODEL": "owner/name", "PLUMAGE_MODEL_REVISION": COMMIT, "PLUMAGE_VAE": str(copied / "vae")}
    homeless = ask("pin", **chosen)
    assert (homeless.exit_code, "PLUMAGE_MANIFESTS" in homeless.output) == (2, True)
    chosen["PLUMAGE_MANIFESTS"] = str(tmp_path / "manifests")
    assert ask("verify", **chosen).exit_code == 1
    assert ask("pin", **chosen).exit_code == 0
    assert {path.name for path in (tmp_path / "manifests").iterdir()} == {f"owner--name@{COMMIT}.json", "vae.json"}
    assert ask("verify", **chosen).exit_code == 0
    shutil.rmtree(hub)
    assert "has not been downloaded" in ask("verify", **chosen).output
