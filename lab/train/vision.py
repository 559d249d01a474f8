"""`python -m lab.train.vision`: trains the small correspondence model that lies beside the mini checkpoint.

A vision transformer in DINOv2's layout (transformers' `Dinov2Model`) on rendered scenes: what DINOv2 is to SDXL, at
the mini's size. Two linear heads, dropped afterwards, read every token's part and its place in the part; the
contrastive term of `lab.train.contrast` shapes the tokens for comparison by cosine. The category that stays out of
that term is never drawn here.

    python -m lab.train.vision --out runs/vision --set runs/mini/set --until 01:30
    python -m lab.train.vision --out runs/vision --export models/mini/correspondence
"""

import argparse
import copy
import json
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from transformers import Dinov2Config, Dinov2Model

from lab.scenes import PART_ID, PARTS
from lab.train.contrast import part_contrast
from lab.train.dataset import GRID, SceneSet, open_set
from lab.train.descent import descend, follow, restore, save
from lab.train.progress import Budget, LossLog, learning_rate, load_state, next_time
from lab.train.surface import HELD_OUT

PATCH = 8
PICTURE_SIZE = 128
TOKENS = PICTURE_SIZE // PATCH
MEAN, SPREAD = 0.5, 0.5
"""Pixel values 0..1 are shifted and divided by these."""
BATCH = 24
PEAK_RATE = 1e-3
AVERAGE_DECAY = 0.995
CONTRAST_WEIGHT = 0.3
RELATED_SHARE = 0.25
"""Share of batches with two categories that have part names in common."""
SAVE_EVERY_S = 120.0


class Reader(nn.Module):
    """The model with its two heads: which part a token is on, and where in that part."""

    def __init__(self) -> None:
        super().__init__()
        self.model = build_vision()
        width = self.model.config.hidden_size
        self.part = nn.Linear(width, len(PARTS))
        self.place = nn.Linear(width, 2 * len(PARTS))

    def forward(self, batch: "PartBatch", generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        """The loss to descend and its parts for the log."""
        tokens = self.model(pixel_values=batch.pictures).last_hidden_state[:, 1:]
        part = functional.cross_entropy(self.part(tokens).flatten(0, 1), batch.parts.flatten())
        places = self.place(tokens).unflatten(-1, (-1, 2)).flatten(0, 1)
        place = places[torch.arange(len(places)), batch.parts.flatten()] - batch.uv.flatten(0, 1)
        on_figure = (batch.parts.flatten() > 0).float()[:, None]
        apart = (place.abs() * on_figure).sum() / on_figure.sum().clamp(min=1.0)
        contrast = part_contrast(tokens, batch.parts, batch.uv, generator)
        values = {"part": part, "place": apart, "contrast": contrast}
        return part + apart + CONTRAST_WEIGHT * contrast, {name: float(v.detach()) for name, v in values.items()}


@dataclass(frozen=True)
class PartBatch:
    """Pictures `[batch, 3, 128, 128]` normalised, part ids `[batch, 256]` and canonical coordinates
    `[batch, 256, 2]` at the patches' centres."""

    pictures: Tensor
    parts: Tensor
    uv: Tensor


class PartSource:
    """Draws batches from a rendered set; the batch of a step depends on `(seed, step)` only."""

    def __init__(self, scenes: SceneSet, seed: int) -> None:
        self._scenes = scenes
        self._seed = seed
        categories = np.array([caption.split()[1] for caption in scenes.captions])
        groups = [np.flatnonzero(categories == category) for category in np.unique(categories)]
        self._members = [group for group in groups if not self._held_out(group)]
        named = [set(np.unique(scenes.parts[group[:200]])) - {0} for group in self._members]
        count = len(named)
        self._related = [(a, b) for a in range(count) for b in range(a + 1, count) if named[a] & named[b]]

    def _held_out(self, group: NDArray[np.int64]) -> bool:
        held_out = {PART_ID[name] for name in HELD_OUT}
        return bool(set(np.unique(self._scenes.parts[group[:200]])) & held_out)

    def draw(self, step: int, count: int) -> PartBatch:
        """`count` scenes of one category, or of two that share part names; moved by half a patch at random, so
        that the model reads between its patches as well."""
        rng = np.random.default_rng((self._seed, step))
        if self._related and rng.uniform() < RELATED_SHARE:
            pair = self._related[rng.integers(len(self._related))]
            chosen = np.concatenate([_some(rng, self._members[i], count // 2) for i in pair])
        else:
            chosen = _some(rng, self._members[rng.integers(len(self._members))], count)
        cell = PICTURE_SIZE // GRID
        down, right = rng.integers(-1, 2, size=2)
        rows = np.clip(np.arange(GRID) + down, 0, GRID - 1)
        columns = np.clip(np.arange(GRID) + right, 0, GRID - 1)
        y = np.clip(np.arange(PICTURE_SIZE) + down * cell, 0, PICTURE_SIZE - 1)
        x = np.clip(np.arange(PICTURE_SIZE) + right * cell, 0, PICTURE_SIZE - 1)
        images = np.stack([self._scenes.images[i] for i in chosen])[:, y][:, :, x]
        per_patch = GRID // TOKENS
        cells = np.ix_(rows[per_patch // 2 :: per_patch], columns[per_patch // 2 :: per_patch])
        parts = np.stack([self._scenes.parts[i][cells] for i in chosen]).astype(np.int64)
        uv = np.stack([self._scenes.uv[i][cells] for i in chosen]).astype(np.float32) / 100.0
        pictures = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255.0
        return PartBatch(
            (pictures - MEAN) / SPREAD, torch.from_numpy(parts).flatten(1), torch.from_numpy(uv).flatten(1, 2)
        )


def _some(rng: np.random.Generator, members: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Random members; one may come twice where there are too few."""
    chosen: NDArray[np.int64] = rng.choice(members, count, replace=count > len(members))
    return chosen


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


def train_vision(
    folder: Path,
    scenes: SceneSet,
    *,
    steps: int,
    ends_at: float | None,
    batch: int = BATCH,
    schedule_steps: int | None = None,
) -> None:
    """Trains until `steps` or the clock; resumes from `folder/vision.pt` after any kill.

    `schedule_steps` are the steps that the learning rate is laid out for where the run stops earlier.
    """
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    model = Reader()
    average = copy.deepcopy(model).requires_grad_(False)
    optimizer = torch.optim.AdamW(model.parameters(), lr=PEAK_RATE, betas=(0.9, 0.98), weight_decay=0.02)
    path = folder / "vision.pt"
    step, started_at = restore(path, model, average, optimizer)
    budget, source = Budget(schedule_steps or steps, ends_at, started_at), PartSource(scenes, seed=7)
    log = LossLog(folder / "vision.csv", step, every=10)
    saved = time.monotonic()
    while step < steps and (share := budget.share(step)) < 1.0:
        drawn = source.draw(step, batch)
        generator = torch.Generator().manual_seed(step)
        loss, values = model(drawn, generator)
        rate = min(1.0, (step + 1) / 100) * learning_rate(round(share * 10_000), 10_000, PEAK_RATE, warmup=0)
        descend(loss, model, optimizer, rate)
        follow(average, model, step, AVERAGE_DECAY)
        step += 1
        log.add(step, {**values, "rate": rate})
        if time.monotonic() - saved > SAVE_EVERY_S:
            save(path, model, average, optimizer, step, started_at)
            saved = time.monotonic()
    save(path, model, average, optimizer, step, started_at)


def export_vision(folder: Path, target: Path) -> None:
    """Writes the moving average in fp16 as a transformers folder, with the values its input is normalised by."""
    state = load_state(folder / "vision.pt")
    if state is None:
        raise SystemExit(f"no training state in {folder}")
    reader = Reader()
    reader.load_state_dict(state["average"])
    model = reader.model
    model.half().save_pretrained(target)
    side = {"height": PICTURE_SIZE, "width": PICTURE_SIZE}
    preprocessor = {"image_mean": [MEAN] * 3, "image_std": [SPREAD] * 3, "size": side}
    (target / "preprocessor_config.json").write_text(json.dumps(preprocessor, indent=1) + "\n")
    (target / "training.json").write_text(json.dumps({"step": state["step"], "domain": "training"}, indent=1) + "\n")


def main() -> None:
    """Parses the command line and runs."""
    parser = argparse.ArgumentParser(prog="python -m lab.train.vision")
    parser.add_argument("--out", type=Path, required=True, help="folder of the run; a second start resumes there")
    parser.add_argument("--set", type=Path, help="the rendered set of a `lab.train` run")
    parser.add_argument("--steps", type=int, default=4_000)
    parser.add_argument("--until", help="end of the training, HH:MM in UTC; the schedule then follows the clock")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--export", type=Path, help="write the newest state as a checkpoint folder and stop")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.export is not None:
        export_vision(options.out, options.export)
        return
    ends_at = None if options.until is None else next_time(options.until)
    train_vision(options.out, open_set(options.set), steps=options.steps, ends_at=ends_at)


if __name__ == "__main__":
    main()
