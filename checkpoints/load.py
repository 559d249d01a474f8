"""Loads the models for `core.pipeline.transfer` from folders or from hub ids at pinned revisions.

Safetensors only, and no code from the checkpoint is ever run: pickled weights and remote code are refused.
"""

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    DiffusionPipeline,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
)

from checkpoints.devices import choose_device, choose_dtype
from checkpoints.errors import CheckpointNotFound, CheckpointUnsupported
from checkpoints.files import find_backbone, require_parts
from checkpoints.hub import Source, download_network, is_folder, source_of, verified
from checkpoints.lora import DEFAULT_FILE, fuse_lora
from checkpoints.manifest import digest_of, fingerprints
from checkpoints.optional import (
    load_correspondence,
    load_part_finder,
    load_salient,
    load_segmenter,
    load_text_segmenter,
)
from checkpoints.settings import MINI, ModelSettings
from core.models.models import SD15, SDXL, Backbone, Models
from core.params.optional_models import OptionalModel

_PIPELINES = {SDXL: StableDiffusionXLPipeline, SD15: StableDiffusionPipeline}
_LEFT_OUT: dict[Backbone, dict[str, Any]] = {
    SDXL: {"add_watermarker": False},
    SD15: {"safety_checker": None, "requires_safety_checker": False},
}
"""Arguments that turn off what a pipeline of diffusers does beside what is used here."""
FOR_ALL = ("salient",)
"""Companions of the small checkpoint that serve every checkpoint: they come with the code, and know its pictures as
well as any other's."""


@dataclass(frozen=True, eq=False)
class LoadedModels:
    """Models on their device, and their identity for the result's record."""

    models: Models
    id: str
    """Folder name or hub id, and those of the replacement VAE and the LoRA after a `+`."""
    revision: str
    """The hub's commit, or SHA-256 over the folder's files."""
    device: str
    dtype: str

    @property
    def optional_models(self) -> tuple[OptionalModel, ...]:
        """Names of the optional models among them."""
        return self.models.loaded


def load(settings: ModelSettings) -> LoadedModels:
    """The checkpoint, of one of the families in `core.models.models`, and the optional models that are configured.

    The VAE runs in float32 where its configuration sets `force_upcast` (SDXL's own overflows in float16), else in the
    UNet's precision. Raises the errors of `checkpoints.errors`.
    """
    device = choose_device(settings.device)
    dtype = choose_dtype(settings.dtype, device)
    source = source_of(settings, "model")
    assert source is not None
    require_parts(source.name)
    folder = _download_pipeline(source, settings)
    files = verified(source, folder)
    arguments = {"dtype": dtype, "use_safetensors": True}
    vae = _network_folder(settings, "vae")
    try:
        replacement = {} if vae is None else {"vae": AutoencoderKL.from_pretrained(vae, **arguments)}
        variant = settings.model_variant or _only_variant(folder)
        backbone = find_backbone(DiffusionPipeline.load_config(folder)["_class_name"])
        pipeline = _PIPELINES[backbone].from_pretrained(
            folder, variant=variant, **_LEFT_OUT[backbone], **replacement, **arguments
        )
    except (OSError, ValueError) as error:
        raise CheckpointUnsupported(f"PLUMAGE_MODEL={settings.model}: cannot be loaded: {error}") from error
    if (lora := source_of(settings, "lora")) is not None:
        here = download_network(lora, [settings.lora_file or DEFAULT_FILE])
        verified(lora, here)
        fuse_lora(pipeline, here, settings)
    models = replace(_assemble(pipeline, backbone, device), **_load_optional(settings, device))
    name = Path(settings.model).resolve().name if is_folder(settings.model) else settings.model
    added = [Path(other).name for other in (settings.vae, settings.lora) if other is not None]
    return LoadedModels(
        models,
        id="+".join([name, *added]),
        revision=source.commit or digest_of(files or fingerprints(folder)),
        device=str(device),
        dtype=str(dtype).removeprefix("torch."),
    )


def _download_pipeline(source: Source, settings: ModelSettings) -> Path:
    """The folder, or the files of a hub id, downloaded when needed; without the VAE where it is replaced."""
    if source.commit is None:
        return Path(source.name)
    passed = {} if settings.vae is None else {"vae": None}
    arguments = {"revision": source.commit, "variant": settings.model_variant, "use_safetensors": True, **passed}
    try:
        return Path(DiffusionPipeline.download(source.name, safety_checker=None, **arguments))
    except (OSError, ValueError) as error:
        raise CheckpointNotFound(f"PLUMAGE_MODEL={source.name}: cannot be downloaded: {error}") from error


def _network_folder(settings: ModelSettings, model: str) -> str | None:
    """Folder with the verified files of the model of this name, if one is configured."""
    source = source_of(settings, model)
    if source is None:
        return None
    folder = download_network(source)
    verified(source, folder)
    return str(folder)


def _load_optional(settings: ModelSettings, device: torch.device) -> dict[str, Any]:
    """The optional models that are configured, by their names in `Models`."""
    loaders = {
        "segmenter": load_segmenter,
        "text_segmenter": load_text_segmenter,
        "correspondence": load_correspondence,
        "part_finder": load_part_finder,
        "salient": load_salient,
    }
    loaded = {}
    for name, load_one in loaders.items():
        folder = _network_folder(settings, name) or _companion(settings.model, name)
        if folder is None and name in FOR_ALL:
            folder = _companion(str(MINI), name)
        if folder is not None:
            loaded[name] = load_one(folder, None, device)
    return loaded


def _companion(model: str, name: str) -> str | None:
    """The optional model in a folder of its name within a checkpoint's folder, whose manifest covers it."""
    folder = Path(model) / name
    return str(folder) if is_folder(str(folder)) else None


def _assemble(pipeline: DiffusionPipeline, backbone: Backbone, device: torch.device) -> Models:
    for part in (getattr(pipeline, name) for name in backbone.parts):
        part.requires_grad_(False).eval()
        part.to(device)
    if pipeline.vae.config.force_upcast:
        pipeline.vae.to(torch.float32)
    schedule = DDIMScheduler.from_config(pipeline.scheduler.config)
    return Models(
        unet=pipeline.unet,
        vae=pipeline.vae,
        text_encoders=tuple(getattr(pipeline, name) for name in backbone.text_encoders),
        tokenizers=tuple(getattr(pipeline, name) for name in backbone.tokenizers),
        alphas_cumprod=schedule.alphas_cumprod.double(),
        prediction_type=schedule.config.prediction_type,
        zero_empty_negative=bool(pipeline.config.get("force_zeros_for_empty_prompt", False)),
        backbone=backbone,
    )


def _only_variant(folder: Path) -> str | None:
    """The variant of a folder that has no plain UNet weights but one variant of them."""
    names = [path.name for path in (folder / "unet").glob("*.safetensors")]
    variants = set()
    for name in names:
        found = re.fullmatch(r"diffusion_pytorch_model(?:\.([\w]+?))?(?:-\d+-of-\d+)?\.safetensors", name)
        variants.add(found.group(1) if found else None)
    return variants.pop() if len(variants) == 1 else None
