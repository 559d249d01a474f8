"""What tells one family of checkpoints from another: a table, so that no code asks which one it has."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Backbone:
    """One family of checkpoints."""

    pipeline: str
    """Class of diffusers' pipeline, by which a checkpoint's model_index.json says what it is."""
    parts: tuple[str, ...]
    """Networks that a checkpoint holds, by their names there."""
    tokenizers: tuple[str, ...]
    text_encoders: tuple[str, ...]
    """In the order in which their states are set side by side."""
    text_layer: int | None
    """Which hidden states of a text encoder are its words; None: the last ones, normalised."""
    sized: bool
    """Whether the UNet is told the prompt as a whole, and the picture's size and crop, beside the words."""
    match_layers: tuple[str, ...]
    """Self-attention layers whose inputs one map for all layers is made of."""
    injection_layers: tuple[str, ...]
    """Self-attention layers in which the output takes from the reference: the decoder's two finer levels."""
    ground_layer: str
    """The first self-attention in here is given what tells figure and ground apart: an early one, before pictures of
    one kind grow alike."""


SDXL = Backbone(
    pipeline="StableDiffusionXLPipeline",
    parts=("unet", "vae", "text_encoder", "text_encoder_2"),
    tokenizers=("tokenizer", "tokenizer_2"),
    text_encoders=("text_encoder", "text_encoder_2"),
    text_layer=-2,
    sized=True,
    match_layers=("up_blocks.1",),
    injection_layers=("up_blocks.0", "up_blocks.1"),
    ground_layer="down_blocks.1",
)
SD15 = Backbone(
    pipeline="StableDiffusionPipeline",
    parts=("unet", "vae", "text_encoder"),
    tokenizers=("tokenizer",),
    text_encoders=("text_encoder",),
    text_layer=None,
    sized=False,
    match_layers=("up_blocks.1", "up_blocks.2"),
    injection_layers=("up_blocks.2", "up_blocks.3"),
    ground_layer="down_blocks.1",
)
"""Stable Diffusion 1.x, and 2.x, which has its layout."""

BACKBONES = (SDXL, SD15)
