"""The networks of the mini checkpoint: SDXL's classes and block layout at a small size.

What is kept from SDXL: two text encoders whose penultimate hidden states are concatenated, the second
one's pooled projection and six size numbers as added condition, a UNet with attention in its two lower
levels only, linear projections, epsilon prediction on the scaled-linear schedule. What differs: widths
and depths, and a VAE of factor 2, so that a 128 px picture has 64 x 64 latents and the finest attention
grid is 32 x 32.
"""

from dataclasses import dataclass

from diffusers import AutoencoderKL, EulerDiscreteScheduler, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

TIME_NUMBERS = 6
"""Original size, crop corner and target size: two numbers each."""


@dataclass(frozen=True)
class Size:
    """Widths and depths of all networks; `sample_size` in latent pixels."""

    sample_size: int
    vae_channels: tuple[int, int]
    text_widths: tuple[int, int]
    text_layers: tuple[int, int]
    unet_channels: tuple[int, int, int]
    unet_heads: tuple[int, int, int]
    transformer_layers: tuple[int, int, int]
    size_embedding: int = 32


MINI = Size(64, (16, 32), (64, 96), (2, 3), (32, 64, 128), (1, 2, 4), (1, 1, 1))
SMOKE = Size(16, (8, 8), (16, 16), (2, 2), (8, 16, 16), (1, 2, 2), (1, 1, 1), size_embedding=8)


def build_vae(size: Size) -> AutoencoderKL:
    """An autoencoder of factor 2 without attention, which at 64 x 64 latents would cost more than all convolutions."""
    first, second = size.vae_channels
    return AutoencoderKL(
        block_out_channels=(first, second),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=4,
        layers_per_block=1,
        norm_num_groups=8,
        sample_size=size.sample_size * 2,
        mid_block_add_attention=False,
        force_upcast=False,
    )


def build_unet(size: Size) -> UNet2DConditionModel:
    """SDXL's UNet layout: one level of convolutions, two with transformers."""
    return UNet2DConditionModel(
        sample_size=size.sample_size,
        block_out_channels=size.unet_channels,
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        transformer_layers_per_block=list(size.transformer_layers),
        attention_head_dim=list(size.unet_heads),
        cross_attention_dim=sum(size.text_widths),
        use_linear_projection=True,
        norm_num_groups=8,
        addition_embed_type="text_time",
        addition_time_embed_dim=size.size_embedding,
        projection_class_embeddings_input_dim=TIME_NUMBERS * size.size_embedding + size.text_widths[1],
    )


def build_text_encoders(size: Size, vocabulary: int) -> tuple[CLIPTextModel, CLIPTextModelWithProjection]:
    """The two encoders; the end token is the last of the vocabulary in both."""
    configs = [
        CLIPTextConfig(
            vocab_size=vocabulary,
            hidden_size=width,
            intermediate_size=2 * width,
            num_hidden_layers=layers,
            num_attention_heads=2,
            projection_dim=size.text_widths[1],
            hidden_act="gelu",
            bos_token_id=vocabulary - 2,
            eos_token_id=vocabulary - 1,
            pad_token_id=vocabulary - 1,
        )
        for width, layers in zip(size.text_widths, size.text_layers, strict=True)
    ]
    return CLIPTextModel(configs[0]), CLIPTextModelWithProjection(configs[1])


def build_scheduler() -> EulerDiscreteScheduler:
    """SDXL base's scheduler configuration."""
    return EulerDiscreteScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type="epsilon",
        timestep_spacing="leading",
        steps_offset=1,
        interpolation_type="linear",
        use_karras_sigmas=False,
    )
