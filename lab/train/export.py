"""The trained networks as a folder that `StableDiffusionXLPipeline.from_pretrained` loads, and sample sheets."""

import copy
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, StableDiffusionXLPipeline
from PIL import Image
from transformers import CLIPTokenizer

from lab.train.architecture import build_scheduler
from lab.train.diffusion import Networks

SHEET_PROMPTS = (
    "a bird with red body, yellow wing, blue head on a flat white background",
    "a fish with striped orange and white body, blue head on a gradient cyan background",
    "a quadruped with brown body, white head, black legs on a horizon green background",
    "a car with checked red and white body, black wheels on a flat grey background",
    "a house with yellow wall, striped blue and white roof on a horizon green background",
    "a flower with dotted pink and white petals, yellow centre on a cloudy blue background",
)


def assemble(
    vae: AutoencoderKL, networks: Networks, tokenizers: tuple[CLIPTokenizer, CLIPTokenizer]
) -> StableDiffusionXLPipeline:
    """The pipeline around the given networks."""
    pipeline = StableDiffusionXLPipeline(
        vae=vae,
        text_encoder=networks.text,
        text_encoder_2=networks.text_pooled,
        tokenizer=tokenizers[0],
        tokenizer_2=tokenizers[1],
        unet=networks.unet,
        scheduler=build_scheduler(),
        force_zeros_for_empty_prompt=True,
        add_watermarker=False,
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def export(
    vae: AutoencoderKL,
    networks: Networks,
    tokenizers: tuple[CLIPTokenizer, CLIPTokenizer],
    folder: Path,
    dtype: torch.dtype = torch.float16,
) -> None:
    """Writes a checkpoint folder; the networks given stay as they are."""
    trained = (networks.unet, networks.text, networks.text_pooled)
    unet, text, text_pooled = (copy.deepcopy(part).to(dtype) for part in trained)
    vae = copy.deepcopy(vae).to(dtype)
    vae.register_to_config(_name_or_path="")  # else the folder that it was trained in goes along
    assemble(vae, Networks(unet, text, text_pooled, networks.surface), tokenizers).save_pretrained(folder)


@torch.no_grad()
def draw_sheet(pipeline: StableDiffusionXLPipeline, pixels: int, path: Path, steps: int = 25) -> None:
    """Text-to-image samples of `SHEET_PROMPTS`, one row, as a PNG."""
    pictures = pipeline(
        list(SHEET_PROMPTS),
        height=pixels,
        width=pixels,
        num_inference_steps=steps,
        guidance_scale=3.0,
        generator=[torch.Generator().manual_seed(index) for index in range(len(SHEET_PROMPTS))],
        output_type="np",
    ).images
    sheet = np.concatenate(list(pictures), axis=1)
    Image.fromarray(np.rint(sheet * 255.0).astype(np.uint8)).save(path)
