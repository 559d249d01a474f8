"""Which named part a place belongs to, by CLIP; and what matches between different parts lose.

CLIP (Radford et al., arXiv 2103.00020) knows words for parts and needs no training for them. Its places are read as in
MaskCLIP (Zhou, Loy, Dai, arXiv 2112.01071): the last layer's attention, which gathers the whole picture into one token,
gives way to its values alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor
from transformers import CLIPModel, CLIPTokenizer

from core.models.preprocessing import ClipProcessor, prepare

PROMPT = "a photo of a {}"


@dataclass(frozen=True, eq=False)
class PartFinder:
    """A frozen CLIP, and the processor of its pictures."""

    model: CLIPModel
    tokenizer: CLIPTokenizer
    processor: ClipProcessor
    side_px: int
    """Side of the square picture that it reads best; other shapes get the same area."""

    @torch.no_grad()
    def shares(
        self, picture: Float[Tensor, "3 height width"], names: Sequence[str], grid: tuple[int, int]
    ) -> Float[Tensor, "tokens parts"]:
        """How likely each token of `grid` (rows, columns) belongs to each of the named parts; rows add up to 1."""
        seen, patches = self._places(picture)
        words = F.normalize(self._words(names), dim=-1)
        logits = self.model.logit_scale.exp() * F.normalize(seen, dim=-1) @ words.T
        chances = torch.softmax(logits.float(), dim=-1).T.unflatten(1, patches)[None]
        dense: Tensor = F.interpolate(chances, size=grid, mode="bilinear", align_corners=False)
        return dense[0].flatten(1).T

    def _words(self, names: Sequence[str]) -> Float[Tensor, "parts channels"]:
        longest = int(self.model.config.text_config.max_position_embeddings)
        tokens = self.tokenizer(
            [PROMPT.format(name.strip()) for name in names],
            padding=True,
            truncation=True,
            max_length=longest,
            return_tensors="pt",
        ).to(self.model.device)
        features: Tensor = self.model.get_text_features(
            input_ids=tokens.input_ids, attention_mask=tokens.attention_mask
        ).pooler_output
        return features

    def _places(self, picture: Float[Tensor, "3 height width"]) -> tuple[Tensor, tuple[int, int]]:
        """A feature in the space of words for every patch `[patches, channels]`, and the rows and columns of them."""
        patch = int(self.model.config.vision_config.patch_size)
        aspect = (picture.shape[1] / picture.shape[2]) ** 0.5
        side = self.side_px / patch
        rows, columns = max(1, round(side * aspect)), max(1, round(side / aspect))
        size = {"height": rows * patch, "width": columns * patch}
        pixels = prepare(self.processor, picture, size=size, do_center_crop=False).pixels
        return read_places(self.model, pixels.to(self.model.device, self.model.dtype))[0], (rows, columns)


def read_places(
    model: CLIPModel, pixels: Float[Tensor, "pictures 3 height width"]
) -> Float[Tensor, "pictures patches channels"]:
    """MaskCLIP's feature of every patch, in the space of the text encoder."""
    vision = model.vision_model
    output = vision(pixel_values=pixels, output_hidden_states=True, interpolate_pos_encoding=True)
    last = vision.encoder.layers[-1]
    entering = output.hidden_states[-2]
    values = last.self_attn.out_proj(last.self_attn.v_proj(last.layer_norm1(entering))) + entering
    left = values + last.mlp(last.layer_norm2(values))
    places: Tensor = model.visual_projection(vision.post_layernorm(left))
    return places[:, 1:]


def disagreement(
    target: Float[Tensor, "target_tokens parts"], reference: Float[Tensor, "reference_tokens parts"]
) -> Float[Tensor, "target_tokens reference_tokens"]:
    """How likely two places belong to different parts, 0 to 1."""
    return 1.0 - target @ reference.T
