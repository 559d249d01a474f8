"""SDXL base at full size with random weights: the real speed and memory, without the download.

Sizes from the published configuration of SDXL base 1.0 (Podell et al., arXiv 2307.01952, table 1).
"""

import string

import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from core.models.models import Models


def random_sdxl(device: torch.device, dtype: torch.dtype) -> Models:
    """2.57 billion parameters in the UNet, 0.8 billion in the text encoders; the VAE in float32."""
    with torch.device(device):
        unet = UNet2DConditionModel(
            sample_size=128,
            block_out_channels=(320, 640, 1280),
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            transformer_layers_per_block=(1, 2, 10),
            attention_head_dim=(5, 10, 20),
            cross_attention_dim=2048,
            use_linear_projection=True,
            addition_embed_type="text_time",
            addition_time_embed_dim=256,
            projection_class_embeddings_input_dim=2816,
        ).to(dtype)
        vae = AutoencoderKL(
            block_out_channels=(128, 256, 512, 512),
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            layers_per_block=2,
            sample_size=1024,
            scaling_factor=0.13025,
        )
        small = CLIPTextModel(_text(768, 12, 12, "quick_gelu", 768)).to(dtype)
        large = CLIPTextModelWithProjection(_text(1280, 32, 20, "gelu", 1280)).to(dtype)
    for part in (unet, vae, small, large):
        part.requires_grad_(False).eval()
    schedule = DDIMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1)
    return Models(
        unet=unet,
        vae=vae,
        text_encoders=(small, large),
        tokenizers=(_tokenizer(), _tokenizer()),
        alphas_cumprod=schedule.alphas_cumprod.double().cpu(),
        prediction_type="epsilon",
        zero_empty_negative=True,
    )


def _text(channels: int, layers: int, heads: int, activation: str, projection: int) -> CLIPTextConfig:
    return CLIPTextConfig(
        vocab_size=49408,
        hidden_size=channels,
        intermediate_size=4 * channels,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        max_position_embeddings=77,
        hidden_act=activation,
        projection_dim=projection,
    )


def _tokenizer() -> CLIPTokenizer:
    letters = [*string.ascii_lowercase, *(f"{letter}</w>" for letter in string.ascii_lowercase)]
    words = ["<|startoftext|>", "<|endoftext|>", *letters]
    return CLIPTokenizer(vocab={word: i for i, word in enumerate(words)}, merges=[], model_max_length=77)
