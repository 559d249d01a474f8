"""`python -m lab.train.vision`: trains the small correspondence model that lies beside the mini checkpoint.

A vision transformer in DINOv2's layout (transformers' `Dinov2Model`) on rendered scenes: what DINOv2 is to SDXL, at
the mini's size. Every token is asked for its place on the figure, as the UNet's are (`lab.train.surface`), and by a
linear head for its part; both are dropped afterwards.

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
from lab.train.placed import PATCH, PICTURE_SIZE, PlacedBatch
from lab.train.surface import SurfaceEmbedding


class Reader(nn.Module):
    """The model with what asks it: which part a token is on, and where on the figure."""

    def __init__(self) -> None:
        super().__init__()
        self.model = build_vision()
        width = self.model.config.hidden_size
        self.part = nn.Linear(width, len(PARTS))
        self.surface = SurfaceEmbedding(width)

    def forward(self, batch: PlacedBatch, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        """The loss to descend and its parts for the log."""
        tokens = self.model(pixel_values=batch.pictures).last_hidden_state[:, 1:]
        part = functional.cross_entropy(self.part(tokens).flatten(0, 1), batch.parts.flatten())
        surface = self.surface(tokens, batch.parts, batch.uv)
        values = {"part": part, "surface": surface}
        return part + surface, {name: float(v.detach()) for name, v in values.items()}


def build_vision() -> Dinov2Model:
    """A freshly initialised model of 1.0 M parameters: patches of 8 px, 16 x 16 of them in a 128 px picture."""
    config = Dinov2Config(
        hidden_size=128,
        num_hidden_layers=6,
        num_attention_heads=4,
        mlp_ratio=3,
        image_size=PICTURE_SIZE,
        patch_size=PATCH,
        layerscale_value=1.0,
    )
    return Dinov2Model(config)


def train_vision(folder: Path, scenes: SceneSet, length: Length, start_from: Path | None = None) -> None:
    """Trains in `folder`; resumes there after any kill."""
    torch.manual_seed(0)
    reader = Reader()
    if start_from is not None:
        reader.model.load_state_dict(Dinov2Model.from_pretrained(start_from, dtype=torch.float32).state_dict())
    train_companion(folder / "vision.pt", reader, reader, scenes, length)


def export_vision(folder: Path, target: Path) -> None:
    """Writes what the run in `folder` has so far as a checkpoint folder."""
    reader = Reader()
    export_companion(folder / "vision.pt", reader, reader.model, target)


if __name__ == "__main__":
    run_companion("python -m lab.train.vision", train_vision, export_vision)
