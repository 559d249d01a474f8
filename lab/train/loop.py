"""The training loop of UNet and text encoders: progressive size, moving average of the weights, resume
after any kill."""

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from lab.train.descent import descend, follow, restore, save
from lab.train.diffusion import BatchSource, DenoisingLoss, Networks
from lab.train.progress import Budget, LossLog

WARMUP_STEPS = 60
COOLDOWN_FROM = 0.7
"""Share of the run after which the learning rate falls linearly to 4 % of its peak."""
AVERAGE_DECAY = 0.998


@dataclass(frozen=True)
class Recipe:
    """How to train. `small_until` is the share of the run on half-size pictures."""

    steps: int
    batch_small: int
    batch_full: int
    small_until: float
    peak_rate: float = 1e-3
    seed: int = 0
    ends_at: float | None = None
    cooldown_over: int | None = None
    """Steps that the schedule is laid out for where the run stops earlier; `steps` by default."""
    save_every_s: float = 180.0
    sheet_every_s: float = 900.0


def train_networks(
    networks: Networks,
    source: BatchSource,
    folder: Path,
    recipe: Recipe,
    draw_sheet: Callable[[Networks, int, bool], None],
) -> Networks:
    """Trains in place and returns the moving average; resumes from `folder/unet.pt`.

    `draw_sheet(average, step, small)` is called every `sheet_every_s`.
    """
    average = copy.deepcopy(networks)
    modules, averaged = networks.modules(), average.modules()
    averaged.requires_grad_(False)
    optimizer = torch.optim.AdamW(modules.parameters(), lr=recipe.peak_rate, betas=(0.9, 0.99), weight_decay=0.01)
    step, started_at = restore(folder / "unet.pt", modules, averaged, optimizer)
    budget = Budget(recipe.cooldown_over or recipe.steps, recipe.ends_at, started_at)
    objective, log = DenoisingLoss(), LossLog(folder / "unet.csv", step, every=10)
    saved = drawn = time.monotonic()
    while step < recipe.steps and (share := budget.share(step)) < 1.0:
        small = share < recipe.small_until
        batch = source.draw(step, recipe.batch_small if small else recipe.batch_full, half_size=small)
        loss, values = objective(networks, batch, torch.Generator().manual_seed(recipe.seed * 1_000_003 + step))
        rate = recipe.peak_rate * _rate_factor(step, share)
        descend(loss, modules, optimizer, rate)
        follow(averaged, modules, step, AVERAGE_DECAY)
        step += 1
        log.add(step, {**values, "rate": rate, "pixels": float(batch.pixels)})
        if time.monotonic() - saved > recipe.save_every_s:
            save(folder / "unet.pt", modules, averaged, optimizer, step, started_at)
            saved = time.monotonic()
        if time.monotonic() - drawn > recipe.sheet_every_s:
            draw_sheet(average, step, small)
            drawn = time.monotonic()
    save(folder / "unet.pt", modules, averaged, optimizer, step, started_at)
    return average


def _rate_factor(step: int, share: float) -> float:
    """Warm-up by steps, then constant, then a linear fall to 4 %."""
    warm = min(1.0, (step + 1) / WARMUP_STEPS)
    cooled = max(0.0, (share - COOLDOWN_FROM) / (1.0 - COOLDOWN_FROM))
    return warm * (1.0 - 0.96 * cooled)
