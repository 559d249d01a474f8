"""Adds a LoRA (Hu et al. 2021, arXiv 2106.09685) to the checkpoint's own weights when a worker starts.

Fused once, it costs nothing per step, and the layers stay the same. Distilled ones (Lightning, Turbo, LCM) need few
steps only: preset `few-steps`.
"""

from pathlib import Path

from diffusers import DiffusionPipeline
from safetensors import SafetensorError

from checkpoints.errors import CheckpointUnsupported
from checkpoints.settings import ModelSettings

DEFAULT_FILE = "pytorch_lora_weights.safetensors"


def fuse_lora(pipeline: DiffusionPipeline, folder: Path, settings: ModelSettings) -> None:
    """Adds the LoRA in `folder` to the pipeline's networks, in place. Raises CheckpointUnsupported."""
    name = _file(folder, settings)
    try:
        pipeline.load_lora_weights(str(folder), weight_name=name, use_safetensors=True)
        if not any(pipeline.get_list_adapters().values()):
            raise ValueError(f"nothing in {name} is for a network of this checkpoint")
        pipeline.fuse_lora(lora_scale=settings.lora_scale)
        pipeline.unload_lora_weights()
    except (OSError, ValueError, RuntimeError, LookupError, SafetensorError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise CheckpointUnsupported(f"PLUMAGE_LORA={settings.lora}: cannot be loaded: {reason}") from error


def _file(folder: Path, settings: ModelSettings) -> str:
    if settings.lora_file is not None:
        return settings.lora_file
    names = sorted(path.name for path in folder.glob("*.safetensors"))
    if DEFAULT_FILE in names:
        return DEFAULT_FILE
    if len(names) != 1:
        found = f"{len(names)} files of weights" if names else "no .safetensors"
        raise CheckpointUnsupported(f"PLUMAGE_LORA={settings.lora} has {found}: name one in PLUMAGE_LORA_FILE")
    return names[0]
