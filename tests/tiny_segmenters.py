"""Random segmentation models, small enough for a test: the real classes of transformers, with folders as on the hub."""

import json
from pathlib import Path
from typing import Any

import torch
from transformers import (
    CLIPSegConfig,
    CLIPSegForImageSegmentation,
    PreTrainedModel,
    Sam2Config,
    Sam2Model,
    SamConfig,
    SamHQConfig,
    SamHQModel,
    SamModel,
)

from core.models.preprocessing import ClipSegProcessor, Sam2Processor
from core.models.segmenters import Segmenter, TextSegmenter
from tests.tiny import TEXT_CHANNELS, tiny_tokenizer

SIDE = 64
IMAGENET = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}
SAM_PICTURES = {"size": {"longest_edge": SIDE}, "pad_size": {"height": SIDE, "width": SIDE}, "resample": 2, **IMAGENET}
SAM2_PICTURES = {"size": {"height": SIDE, "width": SIDE}, "resample": 2, **IMAGENET}
CLIPSEG_PICTURES = {"size": {"height": 32, "width": 32}, "resample": 2, **IMAGENET}
PROMPT = {"hidden_size": 16, "image_size": SIDE, "patch_size": 8, "image_embedding_size": 8, "mask_input_channels": 4}
DECODER = {"hidden_size": 16, "mlp_dim": 16, "num_attention_heads": 2, "iou_head_hidden_dim": 16}
VISION = {
    "hidden_size": 16,
    "output_channels": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": SIDE,
    "patch_size": 8,
    "mlp_dim": 16,
    "num_pos_feats": 8,
    "window_size": 4,
    "global_attn_indexes": [1],
    "initializer_range": 0.02,
}
GAIN = 12.0
"""Of the random weights of all SAMs over their usual ones, which leave masks without contrast."""


def tiny_sam() -> SamModel:
    config = SamConfig(vision_config=VISION, prompt_encoder_config=PROMPT, mask_decoder_config=DECODER)
    return _frozen(SamModel, config, GAIN)


def tiny_sam_hq() -> SamHQModel:
    decoder = {**DECODER, "vit_dim": 16}
    config = SamHQConfig(vision_config=VISION, prompt_encoder_config=PROMPT, mask_decoder_config=decoder)
    return _frozen(SamHQModel, config, GAIN)


def tiny_sam2() -> Sam2Model:
    backbone = {
        "model_type": "sam2_hiera_det_model",
        "hidden_size": 8,
        "image_size": [SIDE, SIDE],
        "window_positional_embedding_background_size": [4, 4],
        "blocks_per_stage": [1, 1, 2, 1],
        "embed_dim_per_stage": [8, 16, 32, 64],
        "num_attention_heads_per_stage": [1, 1, 2, 2],
        "window_size_per_stage": [4, 2, 2, 2],
        "global_attention_blocks": [3],
    }
    vision = {
        "model_type": "sam2_vision_model",
        "backbone_config": backbone,
        "backbone_channel_list": [64, 32, 16, 8],
        "backbone_feature_sizes": [[16, 16], [8, 8], [4, 4]],
        "fpn_hidden_size": 32,
    }
    prompt = {"hidden_size": 32, "image_size": SIDE, "patch_size": 16, "mask_input_channels": 4}
    decoder = {**DECODER, "hidden_size": 32}
    config = Sam2Config(vision_config=vision, prompt_encoder_config=prompt, mask_decoder_config=decoder)
    return _frozen(Sam2Model, config, GAIN)


def tiny_clipseg() -> CLIPSegForImageSegmentation:
    tokenizer = tiny_tokenizer()
    text = {
        "vocab_size": len(tokenizer),
        "hidden_size": TEXT_CHANNELS,
        "intermediate_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "max_position_embeddings": 16,
        "bos_token_id": 0,
        "eos_token_id": 1,
        "pad_token_id": 1,
    }
    vision = {
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": 32,
        "patch_size": 8,
    }
    config = CLIPSegConfig(
        text_config=text,
        vision_config=vision,
        projection_dim=16,
        extract_layers=[0, 1],
        reduce_dim=8,
        decoder_num_attention_heads=2,
        decoder_intermediate_size=16,
    )
    return _frozen(CLIPSegForImageSegmentation, config)


def tiny_segmenter() -> Segmenter:
    return Segmenter(tiny_sam2(), Sam2Processor(**SAM2_PICTURES))


def tiny_text_segmenter() -> TextSegmenter:
    return TextSegmenter(tiny_clipseg(), tiny_tokenizer(), ClipSegProcessor(**CLIPSEG_PICTURES))


def save(model: PreTrainedModel, pictures: dict[str, Any], folder: Path) -> Path:
    """As on the hub: weights, configuration, and the image processor's values."""
    model.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(pictures))
    if isinstance(model, CLIPSegForImageSegmentation):
        tiny_tokenizer().save_pretrained(folder)
    return folder


def _frozen(kind: Any, config: Any, gain: float = 1.0) -> Any:
    torch.manual_seed(0)
    model = kind(config).requires_grad_(False).eval()
    for weights in model.parameters():
        if weights.ndim > 1:
            weights.mul_(gain)
    return model
