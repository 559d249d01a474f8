"""`python -m lab.train.photographic`: goes on training the correspondence model on photographs, beside scenes.

A batch mixes three kinds of pictures. Scenes, as in `lab.train.vision`. Drawn figures in photographic dress
(`lab.train.photographs`), asked for the same. Pairs of views of one photographic figure, moved and recoloured, whose
tokens have to find each other among all of the figure: the contrastive loss InfoNCE (van den Oord et al., arXiv
1807.03748), by cosines as the sampler takes them, with truth between tokens shared out bilinearly.

    python -m lab.train.photographs --out runs/photographs
    python -m lab.train.photographic --out runs/photographic --set runs/mini/set --photographs runs/photographs \\
        --start-from models/mini/correspondence --until HH:MM
"""

import argparse
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from lab.train.companion import Length, export_companion, train_companion
from lab.train.dataset import open_set
from lab.train.photographs.pool import kept_pool, open_pool
from lab.train.photographs.shades import open_shades
from lab.train.photographs.views import PairBatch, Views
from lab.train.placed import TOKENS, PlacedBatch, PlacedScenes
from lab.train.progress import next_time
from lab.train.vision import Reader

TEMPERATURE = 0.07
"""Of cosines in the loss between the two views of a pair."""
PAIR_WEIGHT = 2.0
DRESSED_SHARE, PAIRED_SHARE = 0.25, 0.5
"""Of a batch's pictures; the rest are scenes as they are drawn."""
WINDOWS = 4_000
STATE = "photographic.pt"


@dataclass(frozen=True)
class MixedBatch:
    """Pictures with parts and places, and pairs of views."""

    placed: PlacedBatch
    pairs: PairBatch
    tokens: int
    """How many of every picture the model sees."""


class PhotographicReader(Reader):
    """The model with the heads of `lab.train.vision`, which the loss between views does without."""

    def some_tokens(self, pictures: Tensor, kept: Tensor) -> Tensor:
        """Features `[batch, kept, channels]` of the tokens `kept` `[batch, kept]`, by indices in reading order, where
        the model sees no others (as in masked autoencoders, He et al., arXiv 2111.06377)."""
        embedded = self.model.embeddings(pictures)
        chosen = torch.cat([torch.zeros_like(kept[:, :1]), kept + 1], dim=1)  # the class token comes first
        embedded = embedded.gather(1, chosen[..., None].expand(-1, -1, embedded.shape[-1]))
        seen = self.model.layernorm(self.model.encoder(embedded).last_hidden_state)
        tokens: Tensor = seen[:, 1:].float()
        return tokens

    def mixed(self, batch: MixedBatch, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        """The loss to descend and its parts for the log."""
        placed, pairs = batch.placed, batch.pairs
        count = len(placed.pictures)
        pictures = torch.cat([placed.pictures, pairs.pictures])
        kept = kept_tokens(torch.cat([placed.parts > 0, pairs.figure]), batch.tokens, generator)
        tokens = self.some_tokens(pictures, kept)
        here = kept[:count]
        labels = placed.parts.gather(1, here), placed.uv.gather(1, here[..., None].expand(-1, -1, 2))
        loss, values = self.placed_loss(tokens[:count], replace(placed, parts=labels[0], uv=labels[1]))
        paired, found = pair_loss(tokens[count:], pairs, kept[count:])
        return loss + PAIR_WEIGHT * paired, {**values, "pairs": float(paired.detach()), **found}

    def forward(self, batch: MixedBatch, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:  # type: ignore[override]
        return self.mixed(batch, generator)


class MixedBatches:
    """Draws batches; the batch of a step depends on `(seed, step)` only."""

    def __init__(self, scenes: PlacedScenes, views: Views, seed: int, tokens: int) -> None:
        """`tokens`: how many of every picture the model is to see."""
        self._scenes, self._views, self._seed, self._tokens = scenes, views, seed, tokens

    def draw(self, step: int, count: int) -> MixedBatch:
        """`count` pictures."""
        rng = np.random.default_rng((self._seed, step, 1))
        dressed = round(count * DRESSED_SHARE)
        pairs = round(count * PAIRED_SHARE / 2)
        plain = self._scenes.draw(step, count - dressed - 2 * pairs)
        worn = self._views.dressed(rng, dressed)
        placed = PlacedBatch(
            torch.cat([plain.pictures, worn.pictures]),
            torch.cat([plain.parts, worn.parts]),
            torch.cat([plain.uv, worn.uv]),
            [*plain.captions, *worn.captions],
        )
        return MixedBatch(placed, self._views.pairs(rng, pairs), self._tokens)


def kept_tokens(figure: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """`count` tokens of every picture, `[batch, count]` indices in reading order: those of the figure before others,
    random among the ones and the others."""
    order = torch.rand(figure.shape, generator=generator) + figure.float()
    return order.topk(count, dim=1).indices.sort(dim=1).values


def pair_loss(tokens: Tensor, batch: PairBatch, kept: Tensor) -> tuple[Tensor, dict[str, float]]:
    """The loss of tokens `[2 n, kept, channels]`, those at `kept` `[2 n, kept]`, and the share of the figures' tokens
    whose most similar one lies within .1 and .05 of the picture's side of its true place."""
    figure, counterparts = batch.figure.gather(1, kept), batch.counterparts.gather(1, kept[..., None].expand(-1, -1, 2))
    units = _centred(tokens, figure)
    count = len(units) // 2
    other, shown, places = (torch.cat([plane[count:], plane[:count]]) for plane in (units, figure, kept))
    cosines = units @ other.transpose(1, 2)
    logits = (cosines / TEMPERATURE).masked_fill(~shown[:, None], -1e4)
    shares = bilinear_shares(counterparts).gather(2, places[:, None].expand(-1, kept.shape[1], -1))
    share = shares * shown[:, None]
    total = share.sum(-1)
    counted = figure & (total > 0.5)
    losses = -(share * torch.log_softmax(logits, dim=-1)).sum(-1) / total.clamp(min=1e-6)
    best = places.gather(1, logits.detach().argmax(-1))
    return losses[counted].mean(), _found(best, counterparts, counted)


def bilinear_shares(places: Tensor) -> Tensor:
    """How much of each place `[n, points, 2]`, in fractions of the picture's sides, every token stands for `[n, points,
    tokens]`: the four around it by their nearness, 1 in sum, less beyond the outermost tokens' middles."""
    rows, columns = TOKENS
    x, y = places[..., 0] * columns - 0.5, places[..., 1] * rows - 0.5
    across = (1.0 - (x[..., None] - torch.arange(columns)).abs()).clamp(min=0.0)
    down = (1.0 - (y[..., None] - torch.arange(rows)).abs()).clamp(min=0.0)
    return (down[..., :, None] * across[..., None, :]).flatten(-2)


def _centred(tokens: Tensor, figure: Tensor) -> Tensor:
    """Of unit length, without the mean over the figure, as the sampler compares them."""
    weight = figure.to(tokens.dtype)[..., None]
    mean = (tokens * weight).sum(1, keepdim=True) / weight.sum(1, keepdim=True).clamp(min=1.0)
    return functional.normalize(tokens - mean, dim=-1)


def _found(best: Tensor, counterparts: Tensor, counted: Tensor) -> dict[str, float]:
    rows, columns = TOKENS
    places = torch.stack([(best % columns + 0.5) / columns, (best // columns + 0.5) / rows], dim=-1)
    apart = (places - counterparts).norm(dim=-1)[counted]
    return {f"pck_{alpha}": float((apart < alpha).float().mean()) for alpha in (0.1, 0.05)}


def main() -> None:
    """The command line: trains in a folder, or exports what it has so far."""
    parser = argparse.ArgumentParser(prog="python -m lab.train.photographic")
    parser.add_argument("--out", type=Path, required=True, help="folder of the run; a second start resumes there")
    parser.add_argument("--set", type=Path, help="the rendered set of a `lab.train` run")
    parser.add_argument("--photographs", type=Path, help="folder that `python -m lab.train.photographs` wrote")
    parser.add_argument("--start-from", type=Path, help="the checkpoint folder to begin as")
    parser.add_argument("--steps", type=int, default=100_000)
    parser.add_argument("--until", help="end of the training, HH:MM in UTC; the schedule then follows the clock")
    parser.add_argument("--batch", type=int, default=24)
    parser.add_argument("--batch-seed", type=int, default=21)
    parser.add_argument("--rate", type=float, default=6e-4, help="learning rate at its peak")
    parser.add_argument("--tokens", type=int, default=256, help="how many of every picture's tokens the model sees")
    parser.add_argument("--export", type=Path, help="write the newest state as a checkpoint folder and stop")
    options = parser.parse_args()
    torch.set_num_threads(1)
    reader = PhotographicReader()
    if options.export is not None:
        export_companion(options.out / STATE, reader, reader.model, options.export)
        return
    torch.manual_seed(0)
    scenes = open_set(options.set)
    shades = open_shades(options.set, *scenes.parts.shape[:2])
    placed = PlacedScenes(scenes, options.batch_seed)
    if options.start_from is not None and not (options.out / STATE).exists():
        reader.begin_as(options.start_from, placed)
    pool = kept_pool(options.out / "pool.npz", lambda: open_pool(options.photographs, WINDOWS, options.batch_seed))
    views = Views(pool, scenes, shades)
    ends_at = None if options.until is None else next_time(options.until)
    length = Length(options.steps, ends_at, options.batch, options.rate, batch_seed=options.batch_seed)
    batches = MixedBatches(placed, views, options.batch_seed, options.tokens)
    train_companion(options.out / STATE, reader, batches.draw, length)


if __name__ == "__main__":
    main()
