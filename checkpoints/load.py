"""A folder or a hub id at a pinned revision in, models ready for `core.pipeline.transfer` out.

Safetensors only, and no code from the checkpoint is ever run: pickled weights and remote code are refused.
"""

import hashlib
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionXLPipeline

from checkpoints.correspondence import load_correspondence
from checkpoints.devices import choose_device, choose_dtype
from checkpoints.errors import CheckpointUnsupported
from checkpoints.files import require_sdxl
from checkpoints.segmenters import load_segmenter, load_text_segmenter
from checkpoints.settings import ModelSettings
from checkpoints.sources import is_folder, pinned
from core.models import Models
from core.optional import OptionalModel


@dataclass(frozen=True, eq=False)
class LoadedModels:
    """Models on their device, and what they are, for the result's record."""

    models: Models
    id: str
    """Folder name or hub id, and the replacement VAE's after a `+`."""
    revision: str
    """The hub's commit, or SHA-256 over the folder's files."""
    device: str
    dtype: str

    @property
    def held(self) -> tuple[OptionalModel, ...]:
        """The optional models that were loaded as well."""
        return self.models.held


def load(settings: ModelSettings) -> LoadedModels:
    """Load an SDXL checkpoint, and the optional models that are configured.

    The VAE runs in float32 where its configuration says `force_upcast` (SDXL's own overflows in float16), else in the
    UNet's precision. Raises the errors of `checkpoints.errors`.
    """
    device = choose_device(settings.device)
    dtype = choose_dtype(settings.dtype, device)
    revision = pinned(settings.model, settings.model_revision, "PLUMAGE_MODEL_REVISION")
    require_sdxl(settings.model)
    variant = settings.model_variant or _only_variant(settings.model)
    arguments = {"dtype": dtype, "use_safetensors": True}
    try:
        replacement = {}
        if settings.vae is not None:
            vae_revision = pinned(settings.vae, settings.vae_revision, "PLUMAGE_VAE_REVISION")
            replacement["vae"] = AutoencoderKL.from_pretrained(settings.vae, revision=vae_revision, **arguments)
        pipeline = StableDiffusionXLPipeline.from_pretrained(
            settings.model, revision=revision, variant=variant, add_watermarker=False, **replacement, **arguments
        )
    except (OSError, ValueError) as error:
        raise CheckpointUnsupported(f"PLUMAGE_MODEL={settings.model}: cannot be loaded: {error}") from error
    models = replace(_assemble(pipeline, device), **_load_optional(settings, device))
    name = Path(settings.model).resolve().name if is_folder(settings.model) else settings.model
    return LoadedModels(
        models,
        id=name if settings.vae is None else f"{name}+{Path(settings.vae).name}",
        revision=revision or folder_digest(Path(settings.model)),
        device=str(device),
        dtype=str(dtype).removeprefix("torch."),
    )


def folder_digest(folder: Path) -> str:
    """SHA-256 over names and contents of a checkpoint's configuration, tokenizer and weight files, in hex."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.suffix in (".json", ".safetensors", ".txt"):
            digest.update(str(path.relative_to(folder)).encode() + b"\0")
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def _load_optional(settings: ModelSettings, device: torch.device) -> dict[str, Any]:
    """The optional models that are configured, by their names in `Models`."""
    loaders = {
        "segmenter": load_segmenter,
        "text_segmenter": load_text_segmenter,
        "correspondence": load_correspondence,
    }
    held = {}
    for name, load_one in loaders.items():
        source = getattr(settings, name) or _companion(settings.model, name)
        if source is not None:
            held[name] = load_one(source, getattr(settings, f"{name}_revision"), device)
    return held


def _companion(model: str, name: str) -> str | None:
    """The optional model that lies within a checkpoint's folder."""
    folder = Path(model) / name
    return str(folder) if is_folder(str(folder)) else None


def _assemble(pipeline: StableDiffusionXLPipeline, device: torch.device) -> Models:
    for part in (pipeline.unet, pipeline.vae, pipeline.text_encoder, pipeline.text_encoder_2):
        part.requires_grad_(False).eval()
        part.to(device)
    if pipeline.vae.config.force_upcast:
        pipeline.vae.to(torch.float32)
    schedule = DDIMScheduler.from_config(pipeline.scheduler.config)
    return Models(
        unet=pipeline.unet,
        vae=pipeline.vae,
        text_encoders=(pipeline.text_encoder, pipeline.text_encoder_2),
        tokenizers=(pipeline.tokenizer, pipeline.tokenizer_2),
        alphas_cumprod=schedule.alphas_cumprod.double(),
        prediction_type=schedule.config.prediction_type,
        zero_empty_negative=bool(pipeline.config.force_zeros_for_empty_prompt),
    )


def _only_variant(source: str) -> str | None:
    """The variant of a folder that holds no plain UNet weights but one variant of them."""
    if not is_folder(source):
        return None
    names = [path.name for path in (Path(source) / "unet").glob("*.safetensors")]
    variants = set()
    for name in names:
        found = re.fullmatch(r"diffusion_pytorch_model(?:\.([\w]+?))?(?:-\d+-of-\d+)?\.safetensors", name)
        variants.add(found.group(1) if found else None)
    return variants.pop() if len(variants) == 1 else None
