"""The training loop of the small models that lie beside the mini checkpoint, and its command line."""

import argparse
import copy
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.nn import Module
from transformers import PreTrainedModel

from lab.train.dataset import SceneSet, open_set
from lab.train.descent import descend, follow, restore, save
from lab.train.placed import BATCH_SEED, describe_input
from lab.train.progress import Budget, LossLog, learning_rate, load_state, next_time

WARMUP_STEPS = 100
AVERAGE_DECAY = 0.995
SAVE_EVERY_S = 120.0


@dataclass(frozen=True)
class Length:
    """How long to train: until `steps` or the clock, whichever comes first."""

    steps: int
    ends_at: float | None = None
    batch: int = 24
    peak_rate: float = 1e-3
    schedule_steps: int | None = None
    """Steps that the learning rate is laid out for where the run stops earlier."""
    bf16: bool = False
    batch_seed: int = BATCH_SEED
    """Which batches are drawn; another one goes on with scenes as they were not seen yet."""


def train_companion(path: Path, model: Module, draw: Callable[[int, int], object], length: Length) -> None:
    """Trains `model`, which makes the loss, and its parts for the log, of the batch that `draw` gives for a step and a
    number of scenes; resumes from the state file `path` after any kill."""
    path.parent.mkdir(parents=True, exist_ok=True)
    average = copy.deepcopy(model).requires_grad_(False)
    optimizer = torch.optim.AdamW(model.parameters(), lr=length.peak_rate, betas=(0.9, 0.98), weight_decay=0.02)
    step, started_at = restore(path, model, average, optimizer)
    budget = Budget(length.schedule_steps or length.steps, length.ends_at, started_at)
    log = LossLog(path.with_suffix(".csv"), step, every=10)
    saved = time.monotonic()
    while step < length.steps and (share := budget.share(step)) < 1.0:
        with torch.autocast("cpu", torch.bfloat16, enabled=length.bf16):
            loss, values = model(draw(step, length.batch), torch.Generator().manual_seed(step))
        warm = min(1.0, (step + 1) / WARMUP_STEPS)
        rate = warm * learning_rate(round(share * 10_000), 10_000, length.peak_rate, warmup=0)
        descend(loss, model, optimizer, rate)
        follow(average, model, step, AVERAGE_DECAY)
        step += 1
        log.add(step, {**values, "rate": rate})
        if time.monotonic() - saved > SAVE_EVERY_S:
            save(path, model, average, optimizer, step, started_at)
            saved = time.monotonic()
    save(path, model, average, optimizer, step, started_at)


def export_companion(path: Path, reader: Module, network: PreTrainedModel, target: Path) -> None:
    """Writes `network`, a part of `reader`, in fp16 as a transformers folder: the moving average of the state file
    `path`, the values that its input is normalised by, and how far it was trained."""
    state = load_state(path)
    if state is None:
        raise SystemExit(f"no training state {path}")
    reader.load_state_dict(state["average"])
    network.half().save_pretrained(target)
    describe_input(target)
    (target / "training.json").write_text(json.dumps({"step": state["step"], "domain": "training"}, indent=1) + "\n")


def run_companion(
    prog: str, train: Callable[[Path, SceneSet, Length, Path | None], None], export: Callable[[Path, Path], None]
) -> None:
    """The command line: trains in a folder, or exports what it has so far."""
    parser = argparse.ArgumentParser(prog=prog)
    parser.add_argument("--out", type=Path, required=True, help="folder of the run; a second start resumes there")
    parser.add_argument("--set", type=Path, help="the rendered set of a `lab.train` run")
    parser.add_argument("--steps", type=int, default=4_000)
    parser.add_argument("--until", help="end of the training, HH:MM in UTC; the schedule then follows the clock")
    parser.add_argument("--batch", type=int, default=24)
    parser.add_argument("--batch-seed", type=int, default=BATCH_SEED, help="which batches are drawn")
    parser.add_argument("--rate", type=float, default=1e-3, help="learning rate at its peak")
    parser.add_argument("--start-from", type=Path, help="a checkpoint folder to begin as, where the model can")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--bf16", action="store_true", help="compute in bfloat16, where the processor can")
    parser.add_argument("--export", type=Path, help="write the newest state as a checkpoint folder and stop")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.export is not None:
        export(options.out, options.export)
        return
    if options.set is None:
        parser.error("--set is needed to train")
    ends_at = None if options.until is None else next_time(options.until)
    train(
        options.out,
        open_set(options.set),
        Length(options.steps, ends_at, options.batch, options.rate, bf16=options.bf16, batch_seed=options.batch_seed),
        options.start_from,
    )
