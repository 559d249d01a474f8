"""Random vision models beside the sampler, small enough for a test: the real classes of transformers."""

import torch
from transformers import (
    CLIPConfig,
    CLIPModel,
    Dinov2Config,
    Dinov2Model,
    Dinov2WithRegistersConfig,
    Dinov2WithRegistersModel,
    PreTrainedModel,
)

from core.models.models import VisionModel
from core.models.part_classifier import PartFinder
from core.models.preprocessing import ClipProcessor
from tests.tiny import TEXT_CHANNELS, tiny_tokenizer

GREY = (0.5, 0.5, 0.5)
DINO = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 32, "patch_size": 4}


def tiny_vision(registers: int = 0) -> VisionModel:
    """8 x 8 patches of 4 px."""
    torch.manual_seed(5)
    network: PreTrainedModel = (
        Dinov2WithRegistersModel(Dinov2WithRegistersConfig(**DINO, num_register_tokens=registers))
        if registers
        else Dinov2Model(Dinov2Config(**DINO))
    )
    return VisionModel(network.eval().requires_grad_(False), GREY, GREY, side_px=32, fusion_weight=3.0)


def tiny_part_finder() -> PartFinder:
    """Patches of 8 px, 4 x 4 of them."""
    torch.manual_seed(3)
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    tokenizer = tiny_tokenizer()
    text = {
        **sizes,
        "vocab_size": len(tokenizer),
        "max_position_embeddings": TEXT_CHANNELS,
        "bos_token_id": 0,
        "eos_token_id": 1,
        "pad_token_id": 1,
    }
    config = CLIPConfig(text_config=text, vision_config={**sizes, "image_size": 32, "patch_size": 8}, projection_dim=12)
    model = CLIPModel(config).requires_grad_(False).eval()
    return PartFinder(model, tokenizer, ClipProcessor(image_mean=GREY, image_std=GREY), side_px=32)
