"""`python -m lab.train.vision`: trains the small correspondence model that lies beside the mini checkpoint.

A vision transformer in DINOv2's layout (transformers' `Dinov2Model`) on rendered scenes: what DINOv2 is to SDXL, at
the mini's size. Every token is classified by its place on the figure, as the UNet's are (`lab.train.surface`), and by a
linear head by its part; both are dropped afterwards. It sees all categories, also the one that the UNet's loss never
saw, as DINOv2 has seen what SDXL is used for.

    python -m lab.train.vision --out runs/vision --set runs/mini/set --until 01:30
    python -m lab.train.vision --out runs/vision --export models/mini/correspondence
"""

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import Dinov2Config, Dinov2Model

from lab.scenes import PARTS
from lab.train.companion import Length, export_companion, run_companion, train_companion
from lab.train.dataset import SceneSet
from lab.train.placed import HEADS, LAYERS, PATCH, PICTURE_SIZE, WIDTH, PlacedBatch, PlacedScenes
from lab.train.surface import SurfaceEmbedding

PITCH, REACH = 0.08, 0.06
"""Of places on a part, in figure units (`lab.train.surface`)."""
END_WEIGHT = 3.0
"""Of the loss for the figure's two ends: of a token's features few depend on the end, beside those that depend on its
place, so that pictures may agree in places and yet be matched the wrong way round."""
FUSION_WEIGHT = 6.0
"""Of its cosines beside those of the mini's UNet, as found on tuning pairs (ADR 31)."""
FIRST_BATCHES = 60
"""Over which places take their first vectors from a model that training starts from."""


class Reader(nn.Module):
    """The model with its two heads: which part a token is on, and where on the figure."""

    def __init__(self) -> None:
        super().__init__()
        self.model = build_vision()
        self.part = nn.Linear(WIDTH, len(PARTS))
        self.surface = SurfaceEmbedding(WIDTH, PITCH, REACH, held_out=())

    def forward(self, batch: PlacedBatch, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        """The loss to descend and its parts for the log."""
        return self.placed_loss(self.tokens(batch.pictures), batch)

    def placed_loss(self, tokens: Tensor, batch: PlacedBatch) -> tuple[Tensor, dict[str, float]]:
        """As `forward`, for the tokens `[batch, tokens, channels]` of a batch."""
        part = functional.cross_entropy(self.part(tokens).flatten(0, 1).float(), batch.parts.flatten())
        surface, ends = self.surface(tokens, batch.parts, batch.uv)
        values = {"part": part, "surface": surface, "ends": END_WEIGHT * ends}
        return torch.stack(list(values.values())).sum(), {name: float(v.detach()) for name, v in values.items()}

    @torch.no_grad()
    def begin_as(self, folder: Path, scenes: PlacedScenes) -> None:
        """Takes the weights of a checkpoint of as many layers or fewer, and for places the vectors that its features
        already have there."""
        begin_as(self.model, Dinov2Model.from_pretrained(folder, dtype=torch.float32))
        batches = (scenes.draw(step, Length.batch) for step in range(FIRST_BATCHES))
        self.surface.begin_with((self.tokens(batch.pictures), batch.parts, batch.uv) for batch in batches)

    def tokens(self, pictures: Tensor) -> Tensor:
        """Features `[batch, tokens, channels]` of normalised pictures."""
        tokens: Tensor = self.model(pixel_values=pictures).last_hidden_state[:, 1:].float()
        return tokens


def build_vision() -> Dinov2Model:
    """A freshly initialised model of 1.5 M parameters: patches of 8 px, 16 x 16 of them in a 128 px picture."""
    config = Dinov2Config(
        hidden_size=WIDTH,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        mlp_ratio=3,
        image_size=PICTURE_SIZE,
        patch_size=PATCH,
        layerscale_value=1.0,
        fusion_weight=FUSION_WEIGHT,
    )
    return Dinov2Model(config)


@torch.no_grad()
def begin_as(model: Dinov2Model, smaller: Dinov2Model) -> None:
    """Gives a model the weights of one with as many layers or fewer; layers between those add nothing at first (as in
    Net2Net, Chen et al., arXiv 1511.05641)."""
    model.embeddings.load_state_dict(smaller.embeddings.state_dict())
    model.layernorm.load_state_dict(smaller.layernorm.state_dict())
    layers, given = model.encoder.layer, smaller.encoder.layer
    begun = {(number + 1) * len(layers) // len(given) - 1: layer for number, layer in enumerate(given)}
    for number, layer in enumerate(layers):
        if number in begun:
            layer.load_state_dict(begun[number].state_dict())
            continue
        for last in (layer.attention.o_proj, layer.mlp.fc2):
            last.weight.zero_()
            last.bias.zero_()


def train_vision(folder: Path, scenes: SceneSet, length: Length, start_from: Path | None = None) -> None:
    """Trains in `folder`; resumes there after any kill."""
    torch.manual_seed(0)
    reader, placed, state = Reader(), PlacedScenes(scenes, length.batch_seed), folder / "vision.pt"
    if start_from is not None and not state.exists():
        reader.begin_as(start_from, placed)
    train_companion(state, reader, placed.draw, length)


def export_vision(folder: Path, target: Path) -> None:
    """Writes what the run in `folder` has so far as a checkpoint folder."""
    reader = Reader()
    export_companion(folder / "vision.pt", reader, reader.model, target)


if __name__ == "__main__":
    run_companion("python -m lab.train.vision", train_vision, export_vision)
