"""Random checkpoints, small enough for a test: the real classes, the real layout, no mocks."""

import string

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    EulerDiscreteScheduler,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from core.models.models import SD15, Models

TEXT_CHANNELS = 16


def tiny_pipeline(
    *, dtype: torch.dtype = torch.float32, seed: int = 0, layers: tuple[int, ...] = (1, 1, 2)
) -> StableDiffusionXLPipeline:
    """64 x 64 pixels, latents of 32 x 32 x 4, tokens of 16 x 16 and 8 x 8; `layers` counts transformer layers by
    level."""
    torch.manual_seed(seed)
    unet = UNet2DConditionModel(
        sample_size=32,
        block_out_channels=(8, 16, 32),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        transformer_layers_per_block=layers,
        attention_head_dim=(1, 2, 4),
        norm_num_groups=4,
        cross_attention_dim=2 * TEXT_CHANNELS,
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=4,
        projection_class_embeddings_input_dim=TEXT_CHANNELS + 6 * 4,
    )
    vae = _vae()
    scheduler = EulerDiscreteScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", timestep_spacing="leading", steps_offset=1
    )
    text = _text()
    pipeline = StableDiffusionXLPipeline(
        vae=vae,
        text_encoder=CLIPTextModel(text),
        text_encoder_2=CLIPTextModelWithProjection(text),
        tokenizer=tiny_tokenizer(),
        tokenizer_2=tiny_tokenizer(),
        unet=unet,
        scheduler=scheduler,
        add_watermarker=False,
    )
    for part in (unet, vae, pipeline.text_encoder, pipeline.text_encoder_2):
        part.to(dtype).requires_grad_(False).eval()
    return pipeline


def tiny_sd15_pipeline(*, dtype: torch.dtype = torch.float32, seed: int = 0) -> StableDiffusionPipeline:
    """Stable Diffusion 1.5's layout: four levels, attention on all but the coarsest, one text encoder."""
    torch.manual_seed(seed)
    unet = UNet2DConditionModel(
        sample_size=32,
        block_out_channels=(8, 16, 16, 16),
        layers_per_block=2,
        down_block_types=("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
        up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
        attention_head_dim=2,
        norm_num_groups=4,
        cross_attention_dim=TEXT_CHANNELS,
    )
    vae, text_encoder = _vae(), CLIPTextModel(_text())
    for part in (unet, vae, text_encoder):
        part.to(dtype).requires_grad_(False).eval()
    return StableDiffusionPipeline(
        vae=vae,
        text_encoder=text_encoder,
        tokenizer=tiny_tokenizer(),
        unet=unet,
        scheduler=DDIMScheduler(
            beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1, clip_sample=False
        ),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def tiny_sd15_models(*, dtype: torch.dtype = torch.float32, seed: int = 0) -> Models:
    pipeline = tiny_sd15_pipeline(dtype=dtype, seed=seed)
    return Models(
        unet=pipeline.unet,
        vae=pipeline.vae,
        text_encoders=(pipeline.text_encoder,),
        tokenizers=(pipeline.tokenizer,),
        alphas_cumprod=pipeline.scheduler.alphas_cumprod.double(),
        prediction_type="epsilon",
        zero_empty_negative=False,
        backbone=SD15,
    )


def tiny_models(*, dtype: torch.dtype = torch.float32, seed: int = 0, layers: tuple[int, ...] = (1, 1, 2)) -> Models:
    pipeline = tiny_pipeline(dtype=dtype, seed=seed, layers=layers)
    return Models(
        unet=pipeline.unet,
        vae=pipeline.vae,
        text_encoders=(pipeline.text_encoder, pipeline.text_encoder_2),
        tokenizers=(pipeline.tokenizer, pipeline.tokenizer_2),
        alphas_cumprod=pipeline.scheduler.alphas_cumprod.double(),
        prediction_type="epsilon",
        zero_empty_negative=True,
    )


def _vae() -> AutoencoderKL:
    return AutoencoderKL(
        block_out_channels=(8, 16),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        norm_num_groups=4,
        latent_channels=4,
        sample_size=64,
        scaling_factor=0.5,
    )


def _text() -> CLIPTextConfig:
    return CLIPTextConfig(
        vocab_size=len(_vocabulary()),
        hidden_size=TEXT_CHANNELS,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=16,
        projection_dim=TEXT_CHANNELS,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
    )


def _vocabulary() -> dict[str, int]:
    letters = [*string.ascii_lowercase, *string.digits]
    words = ["<|startoftext|>", "<|endoftext|>", *letters, *(f"{letter}</w>" for letter in letters)]
    return {word: place for place, word in enumerate(words)}


def tiny_tokenizer() -> CLIPTokenizer:
    return CLIPTokenizer(vocab=_vocabulary(), merges=[], model_max_length=16)
