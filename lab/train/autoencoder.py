"""Training of the VAE on random crops, and the normalisation of its latents."""

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from lab.train.progress import LossLog, learning_rate, load_state, save_state

KL_WEIGHT = 1e-4
"""On the mean over latent values: enough to keep the latents bounded, too little to blur."""
SAVE_EVERY_S = 120.0


def to_signed(images: NDArray[np.uint8]) -> Tensor:
    """`[batch, height, width, 3]` bytes to `[batch, 3, height, width]` in -1..1."""
    return torch.from_numpy(np.array(images)).permute(0, 3, 1, 2).float() / 127.5 - 1.0


@dataclass(frozen=True)
class VaeRecipe:
    """How the VAE is trained."""

    steps: int
    batch: int = 12
    crop: int = 32
    """Side of the crops, in pixels."""
    seed: int = 1
    """Of crops and of the posterior's draws."""
    peak_rate: float = 3e-3
    """Learning rate at its peak."""


def train_vae(vae: AutoencoderKL, images: NDArray[np.uint8], folder: Path, recipe: VaeRecipe) -> None:
    """Trains in place, resuming from `folder/vae.pt`; the batch of a step depends on `(seed, step)` only."""
    path = folder / "vae.pt"
    optimizer = torch.optim.AdamW(vae.parameters(), lr=recipe.peak_rate, betas=(0.9, 0.99), weight_decay=1e-4)
    state = load_state(path)
    step = 0
    if state is not None:
        vae.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        step = state["step"]
    log = LossLog(folder / "vae.csv", step, every=25)
    saved = time.monotonic()
    while step < recipe.steps:
        pictures = _crops(images, recipe.batch, recipe.crop, np.random.default_rng((recipe.seed, step)))
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, recipe.steps, recipe.peak_rate, warmup=50)
        loss, values = reconstruction_loss(vae, pictures, torch.Generator().manual_seed(recipe.seed + step))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
        optimizer.step()
        step += 1
        log.add(step, values)
        if step == recipe.steps or time.monotonic() - saved > SAVE_EVERY_S:
            save_state(path, {"model": vae.state_dict(), "optimizer": optimizer.state_dict(), "step": step})
            saved = time.monotonic()


def reconstruction_loss(
    vae: AutoencoderKL, pictures: Tensor, generator: torch.Generator
) -> tuple[Tensor, dict[str, float]]:
    """Squared and absolute error of values and of neighbour differences, plus a small KL term."""
    posterior = vae.encode(pictures).latent_dist
    decoded = vae.decode(posterior.sample(generator)).sample
    error = decoded - pictures
    edges = (error[..., 1:] - error[..., :-1]).abs().mean() + (error[..., 1:, :] - error[..., :-1, :]).abs().mean()
    squared, kl = error.square().mean(), posterior.kl().mean() / posterior.mean[0].numel()
    loss = 4.0 * squared + 0.5 * error.abs().mean() + 0.25 * edges + KL_WEIGHT * kl
    psnr = float(-10.0 * torch.log10(squared.detach() / 4.0))
    return loss, {"loss": float(loss.detach()), "psnr": psnr, "kl": float(kl.detach())}


@torch.no_grad()
def normalise_latents(vae: AutoencoderKL, images: NDArray[np.uint8]) -> None:
    """Folds the latents' mean and standard deviation per channel into the 1 x 1 convolutions around them, then
    writes 1 / (their remaining standard deviation) into the config as `scaling_factor`, as diffusers expects it."""
    means = torch.cat([vae.encode(to_signed(images[i : i + 32])).latent_dist.mean for i in range(0, len(images), 32)])
    mean, deviation = means.mean(dim=(0, 2, 3)), means.std(dim=(0, 2, 3))
    channels = mean.numel()
    inner, outer = vae.quant_conv, vae.post_quant_conv
    assert inner is not None
    assert outer is not None
    outer.bias += (outer.weight[:, :, 0, 0] * mean).sum(dim=1)
    outer.weight *= deviation[None, :, None, None]
    inner.bias[:channels] = (inner.bias[:channels] - mean) / deviation
    inner.weight[:channels] /= deviation[:, None, None, None]
    inner.bias[channels:] -= 2.0 * deviation.log()
    vae.register_to_config(scaling_factor=1.0)


@torch.no_grad()
def reconstruction_psnr(vae: AutoencoderKL, images: NDArray[np.uint8]) -> float:
    """Mean PSNR in dB over pictures, decoding the posterior's mean."""
    scores = []
    for start in range(0, len(images), 16):
        pictures = to_signed(images[start : start + 16])
        decoded = vae.decode(vae.encode(pictures).latent_dist.mean).sample.clamp(-1.0, 1.0)
        squared = functional.mse_loss(decoded, pictures, reduction="none").mean(dim=(1, 2, 3)) / 4.0
        scores.append(-10.0 * torch.log10(squared))
    return float(torch.cat(scores).mean())


def _crops(images: NDArray[np.uint8], batch: int, crop: int, rng: np.random.Generator) -> Tensor:
    """Random square crops of random pictures; one in four pictures is first reduced to half its size."""
    pieces = []
    height = images.shape[1]
    for index in rng.integers(len(images), size=batch):
        picture = images[index]
        if rng.uniform() < 0.25 and height >= 2 * crop:
            picture = halved(picture[None])[0]
        top, left = rng.integers(picture.shape[0] - crop + 1, size=2)
        pieces.append(picture[top : top + crop, left : left + crop])
    return to_signed(np.stack(pieces))


def halved(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Pictures `[batch, height, width, 3]` at half the size, by averaging 2 x 2 pixels."""
    wide = images.astype(np.uint16)
    total = wide[:, ::2, ::2] + wide[:, 1::2, ::2] + wide[:, ::2, 1::2] + wide[:, 1::2, 1::2]
    small: NDArray[np.uint8] = ((total + 2) // 4).astype(np.uint8)
    return small
