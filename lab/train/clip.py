r"""`python -m lab.train.clip`: trains the small CLIP beside the mini checkpoint, which knows parts by their names.

What OpenAI's CLIP is to SDXL, at the mini's size: two objectives on rendered scenes. Every picture is matched with its
caption among those of a batch (Radford et al. 2021, arXiv 2103.00020); and every patch on a figure, read as the sampler
reads it (`core.models.part_classifier`), is classified by the parts' sentences, as regions are in RegionCLIP (Zhong et
al. 2021, arXiv 2112.09106). Its vision tower begins as the correspondence model of `lab.train.vision`; from random
weights the loss stands still for hundreds of steps.

    python -m lab.train.clip --out runs/clip --set runs/mini/set --rate 3e-4 \
        --start-from models/mini/correspondence --until 01:30
    python -m lab.train.clip --out runs/clip --export models/mini/part_finder
"""

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import CLIPConfig, CLIPModel, CLIPTokenizer, Dinov2Model

from core.models.part_classifier import PROMPT, read_places
from lab.scenes import PARTS
from lab.train.companion import Length, export_companion, run_companion, train_companion
from lab.train.dataset import SceneSet
from lab.train.placed import HEADS, LAYERS, PATCH, PICTURE_SIZE, WIDTH, PlacedBatch, PlacedScenes
from lab.train.surface import HELD_OUT
from lab.train.tokens import caption_words, write_tokenizer

CAPTION_WEIGHT = 0.2
LARGEST_SCALE = 100.0
"""Of cosines, as in CLIP."""


class Reader(nn.Module):
    """The model and the objectives that train it."""

    def __init__(self, tokenizer: CLIPTokenizer) -> None:
        super().__init__()
        self.model = build_clip(tokenizer)
        self._tokenizer = tokenizer
        kinds = [kind for kind in PARTS[1:] if kind.name not in HELD_OUT]
        self._sentences, self._answers = [], []
        for names in ([kind.name for kind in kinds], [kind.group for kind in kinds]):
            distinct = sorted(set(names))
            answer = torch.full((len(PARTS),), -1)
            answer[[PARTS.index(kind) for kind in kinds]] = torch.tensor([distinct.index(name) for name in names])
            self._sentences.append([PROMPT.format(name) for name in distinct])
            self._answers.append(answer)

    def forward(self, batch: PlacedBatch, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        """The loss to descend and its parts for the log. Parts go by their own names or by their groups', in turn."""
        names = int(torch.randint(2, (), generator=generator))
        scale = self.model.logit_scale.exp().clamp(max=LARGEST_SCALE)
        answer = self._answers[names][batch.parts]
        seen = functional.normalize(read_places(self.model, batch.pictures)[answer >= 0], dim=-1)
        part = functional.cross_entropy(scale * seen @ self._words(self._sentences[names]).T, answer[answer >= 0])
        pictures = self.model.get_image_features(pixel_values=batch.pictures).pooler_output
        logits = scale * functional.normalize(pictures, dim=-1) @ self._words(batch.captions).T
        own = torch.arange(len(logits))
        caption = 0.5 * (functional.cross_entropy(logits, own) + functional.cross_entropy(logits.T, own))
        values = {"part": part, "caption": caption, "scale": scale}
        return part + CAPTION_WEIGHT * caption, {name: float(value.detach()) for name, value in values.items()}

    def _words(self, sentences: list[str]) -> Tensor:
        longest = self.model.config.text_config.max_position_embeddings
        tokens = self._tokenizer(sentences, padding=True, truncation=True, max_length=longest, return_tensors="pt")
        features = self.model.get_text_features(input_ids=tokens.input_ids, attention_mask=tokens.attention_mask)
        return functional.normalize(features.pooler_output, dim=-1)


def build_clip(tokenizer: CLIPTokenizer) -> CLIPModel:
    """A freshly initialised model of 1.6 M parameters: patches of 8 px, 16 x 16 of them in a 128 px picture."""
    text = {
        "vocab_size": len(tokenizer),
        "hidden_size": 64,
        "intermediate_size": 192,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    vision = {
        "hidden_size": WIDTH,
        "intermediate_size": 3 * WIDTH,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "hidden_act": "gelu",
        "image_size": PICTURE_SIZE,
        "patch_size": PATCH,
    }
    config = CLIPConfig(text_config=text, vision_config=vision, projection_dim=64)
    return CLIPModel._from_config(config, attn_implementation="eager")  # faster to train on a CPU


@torch.no_grad()
def begin_as(model: CLIPModel, vision: Dinov2Model) -> None:
    """Gives CLIP's vision tower the weights of a model of the same size. What CLIP has no place for (the scales of
    layers, the bias of patches) goes into its neighbours; the norm before its first layer keeps the usual size of what
    comes in."""
    tower, given = model.vision_model, vision.embeddings
    patch = given.patch_embeddings.projection
    tower.embeddings.patch_embedding.weight.copy_(patch.weight)
    places = given.position_embeddings[0].clone()
    tower.embeddings.class_embedding.copy_(given.cls_token[0, 0])
    places[1:] += patch.bias
    tower.embeddings.position_embedding.weight.copy_(places)
    entering = functional.conv2d(2.0 * torch.rand(8, 3, PICTURE_SIZE, PICTURE_SIZE) - 1.0, patch.weight, stride=PATCH)
    tower.pre_layrnorm.weight.fill_(float((entering.flatten(2).transpose(1, 2) + places[1:]).std(-1).mean()))
    for own, other in zip(tower.encoder.layers, vision.encoder.layer, strict=True):
        own.layer_norm1.load_state_dict(other.norm1.state_dict())
        own.layer_norm2.load_state_dict(other.norm2.state_dict())
        for name in ("q_proj", "k_proj", "v_proj"):
            own.self_attn.get_submodule(name).load_state_dict(other.attention.get_submodule(name).state_dict())
        own.mlp.fc1.load_state_dict(other.mlp.fc1.state_dict())
        scaled = (
            (own.self_attn.out_proj, other.attention.o_proj, other.layer_scale1.lambda1),
            (own.mlp.fc2, other.mlp.fc2, other.layer_scale2.lambda1),
        )
        for into, source, scale in scaled:
            into.weight.copy_(source.weight * scale[:, None])
            into.bias.copy_(source.bias * scale)
    tower.post_layernorm.load_state_dict(vision.layernorm.state_dict())


def train_clip(folder: Path, scenes: SceneSet, length: Length, start_from: Path | None = None) -> None:
    """Trains in `folder`; resumes there after any kill."""
    torch.manual_seed(0)
    reader = Reader(_tokenizer(folder))
    if start_from is not None:
        begin_as(reader.model, Dinov2Model.from_pretrained(start_from, dtype=torch.float32))
    train_companion(folder / "clip.pt", reader, PlacedScenes(scenes, length.batch_seed, held_out=HELD_OUT).draw, length)


def export_clip(folder: Path, target: Path) -> None:
    """Writes what the run in `folder` has so far as a checkpoint folder with its tokenizer."""
    tokenizer = _tokenizer(folder)
    reader = Reader(tokenizer)
    export_companion(folder / "clip.pt", reader, reader.model, target)
    tokenizer.save_pretrained(target)


def _tokenizer(folder: Path) -> CLIPTokenizer:
    """The captions' words, and those of single parts."""
    words = {word for kind in PARTS for word in kind.name.split()}
    return write_tokenizer(folder / "tokenizer", sorted({*caption_words(), *words}))


if __name__ == "__main__":
    run_companion("python -m lab.train.clip", train_clip, export_clip)
