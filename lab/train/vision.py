"""`python -m lab.train.vision`: trains the small correspondence model that lies beside the mini checkpoint.

A vision transformer in DINOv2's layout (transformers' `Dinov2Model`) on rendered scenes: what DINOv2 is to SDXL, at
the mini's size. Every token is asked for its place on the figure, as the UNet's are (`lab.train.surface`), and by a
linear head for its part; both are dropped afterwards. The category that is held out from these is seen as photographs
would be, without labels: each of its figure's places is asked for in another view of the same picture.

    python -m lab.train.vision --out runs/vision --set runs/mini/set --until 01:30
    python -m lab.train.vision --out runs/vision --export models/mini/correspondence
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import Dinov2Config, Dinov2Model

from lab.scenes import PARTS
from lab.train.companion import Length, export_companion, run_companion, train_companion
from lab.train.dataset import SceneSet
from lab.train.placed import PATCH, PICTURE_SIZE, PlacedBatch, PlacedScenes, Views
from lab.train.surface import SurfaceEmbedding, same_place

PITCH, REACH = 0.1, 0.08
"""Of places on a part, in figure units (`lab.train.surface`)."""
END_WEIGHT = 3.0
"""Of telling a figure's ends apart: what a token says of that is little beside what it says of its place, so that
pictures may agree in places and yet be matched the wrong way round."""
VIEW_REACH = 0.04
"""Of places in a picture, in shares of its side."""
VIEWED_SHARE = 0.2
"""Scenes in two views, as a share of the labelled ones of a batch."""


@dataclass(frozen=True)
class Batch:
    """What one step is made of."""

    labelled: PlacedBatch
    views: tuple[Views, Views] | None

    @classmethod
    def draw(cls, scenes: PlacedScenes, step: int, count: int) -> "Batch":
        return cls(scenes.draw(step, count), scenes.draw_twice(step, max(1, round(VIEWED_SHARE * count))))


class Reader(nn.Module):
    """The model with what asks it: which part a token is on, and where on the figure."""

    def __init__(self) -> None:
        super().__init__()
        self.model = build_vision()
        width = self.model.config.hidden_size
        self.part = nn.Linear(width, len(PARTS))
        self.surface = SurfaceEmbedding(width, PITCH, REACH)

    def forward(self, batch: Batch, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        """The loss to descend and its parts for the log."""
        labelled, views = batch.labelled, batch.views or ()
        count = len(labelled.pictures)
        pictures = torch.cat([labelled.pictures, *(view.pictures for view in views)])
        tokens = self.model(pixel_values=pictures).last_hidden_state[:, 1:].float()
        part = functional.cross_entropy(self.part(tokens[:count]).flatten(0, 1).float(), labelled.parts.flatten())
        surface, ends = self.surface(tokens[:count], labelled.parts, labelled.uv)
        values = {"part": part, "surface": surface, "ends": END_WEIGHT * ends}
        if batch.views is not None:
            here, there = batch.views
            first, second = tokens[count:].chunk(2)
            places, figure = (here.places, there.places), (here.figure, there.figure)
            values["views"] = same_place((first, second), places, figure, VIEW_REACH)
        return torch.stack(list(values.values())).sum(), {name: float(v.detach()) for name, v in values.items()}


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
    # Written out, attention is twice as fast to train on a CPU as torch's own.
    return Dinov2Model._from_config(config, attn_implementation="eager")


def train_vision(folder: Path, scenes: SceneSet, length: Length, start_from: Path | None = None) -> None:
    """Trains in `folder`; resumes there after any kill."""
    torch.manual_seed(0)
    reader = Reader()
    if start_from is not None:
        reader.model.load_state_dict(Dinov2Model.from_pretrained(start_from, dtype=torch.float32).state_dict())
    train_companion(folder / "vision.pt", reader, Batch.draw, scenes, length)


def export_vision(folder: Path, target: Path) -> None:
    """Writes what the run in `folder` has so far as a checkpoint folder."""
    reader = Reader()
    export_companion(folder / "vision.pt", reader, reader.model, target)


if __name__ == "__main__":
    run_companion("python -m lab.train.vision", train_vision, export_vision)
