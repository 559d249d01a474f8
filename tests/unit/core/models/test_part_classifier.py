"""Named parts, by CLIP."""

import torch

from core.models.part_classifier import PROMPT
from tests.tiny_vision import tiny_part_finder


def test_parts_are_told_apart_by_clip(pictures: tuple[torch.Tensor, torch.Tensor]) -> None:
    finder = tiny_part_finder()
    square = torch.rand(3, 32, 32, generator=torch.Generator().manual_seed(0))
    shares = finder.shares(square, ["wing", "head", "tail"], (4, 4))
    assert shares.shape == (16, 3)
    torch.testing.assert_close(shares.sum(-1), torch.ones(16))
    # By hand: the last layer without its attention, in the space of words.
    model = finder.model
    vision = model.vision_model
    states = vision(pixel_values=(square[None] - 0.5) / 0.5, output_hidden_states=True).hidden_states[-2]
    layer = vision.encoder.layers[-1]
    mixed = states + layer.self_attn.out_proj(layer.self_attn.v_proj(layer.layer_norm1(states)))
    mixed = mixed + layer.mlp(layer.layer_norm2(mixed))
    places = model.visual_projection(vision.post_layernorm(mixed))[0, 1:]
    words = [
        model.get_text_features(**finder.tokenizer(PROMPT.format(name), return_tensors="pt")).pooler_output[0]
        for name in ("wing", "head", "tail")
    ]
    cosine = torch.stack([torch.nn.functional.cosine_similarity(places, word[None]) for word in words], dim=-1)
    torch.testing.assert_close(shares, torch.softmax(model.logit_scale.exp() * cosine, -1), rtol=0, atol=1e-5)
    assert finder.shares(pictures[0], ["wing", "head"], (14, 20)).shape == (280, 2)
