"""Which weights a worker loads, fixed when it starts."""

from pathlib import Path
from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

MINI = Path(__file__).parents[1] / "models" / "mini"
"""The small checkpoint that comes with the repository."""


class ModelSettings(BaseSettings):
    """Read from `PLUMAGE_*` variables of the environment."""

    model_config = SettingsConfigDict(
        env_prefix="PLUMAGE_", frozen=True, extra="ignore", use_attribute_docstrings=True, protected_namespaces=()
    )

    model: str = str(MINI)
    """Folder in diffusers layout, or a hub id such as `stabilityai/stable-diffusion-xl-base-1.0`."""
    model_revision: str | None = None
    """Commit of the hub id, 40 hex digits. Needed for hub ids, meaningless for folders."""
    model_variant: str | None = None
    """Weight files to take, such as `fp16` for `*.fp16.safetensors`. Absent: the plain files, else the only variant."""
    vae: str | None = None
    """Replacement VAE: folder or hub id, such as `madebyollin/sdxl-vae-fp16-fix`."""
    vae_revision: str | None = None
    """Commit of the replacement VAE's hub id."""
    lora: str | None = None
    """LoRA that is added to the checkpoint's weights: folder or hub id, such as `ByteDance/SDXL-Lightning`."""
    lora_revision: str | None = None
    """Commit of the LoRA's hub id."""
    lora_file: str | None = Field(default=None, pattern=r"^[\w.-]+\.safetensors$")
    """Its file, where there are several, such as `sdxl_lightning_4step_lora.safetensors`. Absent:
    `pytorch_lora_weights.safetensors`, else the only one of a folder."""
    lora_scale: float = Field(default=1.0, ge=-4.0, le=4.0)
    """How much of it is added."""
    segmenter: str | None = None
    """SAM 2, SAM-HQ or SAM, for masks from a box or from points: folder or hub id, such as
    `facebook/sam2.1-hiera-small`. Absent: jobs that need it are refused."""
    segmenter_revision: str | None = None
    """Commit of the segmentation model's hub id."""
    text_segmenter: str | None = None
    """CLIPSeg, for masks from a text: folder or hub id, such as `CIDAS/clipseg-rd64-refined`. Absent: jobs that need it
    are refused."""
    text_segmenter_revision: str | None = None
    """Commit of the text segmentation model's hub id."""
    correspondence: str | None = None
    """DINOv2 or DINOv3, for matching: folder or hub id, such as `facebook/dinov2-base`. Absent: the folder
    `correspondence` within the checkpoint's own, where it has one; else jobs that need it are refused."""
    correspondence_revision: str | None = None
    """Commit of the correspondence model's hub id."""
    part_finder: str | None = None
    """CLIP, for matching by part names: folder or hub id, such as `openai/clip-vit-base-patch16`. Absent: the folder
    `part_finder` within the checkpoint's own, where it has one; else jobs that need it are refused."""
    part_finder_revision: str | None = None
    """Commit of CLIP's hub id."""
    salient: str | None = None
    """The network that finds the thing in a photograph for `masks.mode` `auto`: folder or hub id. Absent: the folder
    `salient` within the checkpoint's own, else that of the small checkpoint that comes with the repository."""
    salient_revision: str | None = None
    """Commit of its hub id."""
    manifests: Path | None = None
    """Folder with a manifest (SHA-256 of every file) for each model, named `<folder>.json` or
    `<owner>--<name>@<commit>.json`; a model without one is then refused. Absent: the `manifest.json` in a model's own
    folder is checked where there is one, and hub ids are not checked."""
    device: str = "auto"
    """`auto`, `cuda`, `cuda:1`, `mps` or `cpu`. Auto takes the first that is there."""
    dtype: Literal["auto", "float32", "float16", "bfloat16"] = "auto"
    """Precision of UNet and text encoders. Auto: bfloat16 (else float16) on CUDA, float16 on MPS, float32 on a CPU."""
    threads: int | None = Field(default=None, ge=1)
    """CPU threads that torch may use. Absent: torch's own choice."""
