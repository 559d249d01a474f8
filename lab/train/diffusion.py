"""The denoising objective: networks, conditioning as SDXL's pipeline makes it, and the loss of one batch."""

from dataclasses import dataclass

import numpy as np
import torch
from diffusers import AutoencoderKL, EulerDiscreteScheduler, UNet2DConditionModel
from torch import Tensor, nn
from torch.nn import Module, ModuleDict, functional
from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from lab.train.architecture import Size, build_scheduler, build_text_encoders, build_unet
from lab.train.autoencoder import halved, to_signed
from lab.train.dataset import SceneSet
from lab.train.surface import SurfaceEmbedding, captured_tokens
from lab.train.tokens import encode_captions

SURFACE_WEIGHT = 0.3
SURFACE_BELOW = 700
"""Timestep from which on the auxiliary loss is off: there is too little left to see."""
CLEAR_SHARE, CLEAR_RANGE = 0.5, (50, 250)
"""Share of a batch at the timesteps around the one where pictures are matched once for a run."""
NO_TEXT_SHARE, EMPTY_TEXT_SHARE = 0.07, 0.06
"""Shares of captions replaced by zero embeddings (SDXL's unconditional input) and by the empty sentence."""
SNR_LIMIT, LEAST_WEIGHT = 5.0, 0.25
"""Min-SNR weighting (Hang et al. 2023, arXiv 2303.09556), with a floor so that the last, sharp steps are learnt too."""


@dataclass(frozen=True)
class Networks:
    """What the denoising objective trains."""

    unet: UNet2DConditionModel
    text: CLIPTextModel
    text_pooled: CLIPTextModelWithProjection
    surface: nn.ModuleList
    """Surface embeddings of the last two decoder self-attentions; used in training only."""

    def modules(self) -> ModuleDict:
        """All of them under one state dict."""
        members: dict[str, Module] = {
            "unet": self.unet,
            "text": self.text,
            "text_pooled": self.text_pooled,
            "surface": self.surface,
        }
        return ModuleDict(members)


@dataclass(frozen=True)
class Batch:
    """Latents `[pictures, 4, side, side]`, token ids of both tokenizers, labels at the finest attention
    grid, picture size."""

    latents: Tensor
    ids: tuple[Tensor, Tensor]
    parts: Tensor
    uv: Tensor
    pixels: int


def build_networks(size: Size, vocabulary: int) -> Networks:
    """Freshly initialised networks."""
    text, text_pooled = build_text_encoders(size, vocabulary)
    surface = nn.ModuleList(SurfaceEmbedding(size.unet_channels[1]) for _ in range(2))
    return Networks(build_unet(size), text, text_pooled, surface)


class BatchSource:
    """Draws batches from a rendered set; the batch of a step depends on `(seed, step)` only."""

    def __init__(
        self,
        scenes: SceneSet,
        vae: AutoencoderKL,
        tokenizers: tuple[CLIPTokenizer, CLIPTokenizer],
        seed: int,
    ) -> None:
        self._scenes = scenes
        self._vae = vae
        self._seed = seed
        captions = [*scenes.captions, ""]
        first, second = (encode_captions(tokenizer, captions).to(torch.int16) for tokenizer in tokenizers)
        self._ids = (first, second)

    @torch.no_grad()
    def draw(self, step: int, count: int, half_size: bool) -> Batch:
        """`count` random scenes, at half the rendered size where `half_size` is set."""
        rng = np.random.default_rng((self._seed, step))
        count = min(count, len(self._scenes.images))
        chosen = np.sort(rng.choice(len(self._scenes.images), count, replace=False))
        images = self._scenes.images[chosen]
        images = halved(images) if half_size else images
        posterior = self._vae.encode(to_signed(images)).latent_dist
        latents = posterior.mean * self._vae.config.scaling_factor
        stride = 2 * self._scenes.parts.shape[1] // latents.shape[-1]
        cells = slice(stride // 2, None, stride)
        parts = torch.from_numpy(self._scenes.parts[chosen][:, cells, cells].astype(np.int64))
        uv = torch.from_numpy(self._scenes.uv[chosen][:, cells, cells].astype(np.float32) / 100.0)
        empty = rng.uniform(size=count) < EMPTY_TEXT_SHARE
        rows = torch.from_numpy(np.where(empty, len(self._scenes.images), chosen))
        ids = (self._ids[0][rows].long(), self._ids[1][rows].long())
        return Batch(latents, ids, parts.flatten(1), uv.flatten(1, 2), images.shape[1])


def encode_text(networks: Networks, ids: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Penultimate hidden states of both encoders side by side, and the second one's pooled projection."""
    first = networks.text(ids[0], output_hidden_states=True).hidden_states[-2]
    second = networks.text_pooled(ids[1], output_hidden_states=True)
    return torch.cat([first, second.hidden_states[-2]], dim=-1), second.text_embeds


def size_numbers(pixels: int, count: int) -> Tensor:
    """SDXL's micro-conditioning of an uncropped square picture: original size, corner, target size."""
    return torch.tensor([[pixels, pixels, 0, 0, pixels, pixels]], dtype=torch.float32).expand(count, -1)


class DenoisingLoss:
    """The loss of a batch: weighted epsilon error plus the auxiliary term."""

    def __init__(self, scheduler: EulerDiscreteScheduler | None = None) -> None:
        scheduler = scheduler or build_scheduler()
        self._alphas: Tensor = scheduler.alphas_cumprod.float()

    def __call__(self, networks: Networks, batch: Batch, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        """The loss to descend and its parts for the log."""
        count = batch.latents.shape[0]
        timesteps = _stratified_timesteps(count, len(self._alphas), generator)
        noise = torch.randn(batch.latents.shape, generator=generator)
        alpha = self._alphas[timesteps][:, None, None, None]
        noisy = alpha.sqrt() * batch.latents + (1.0 - alpha).sqrt() * noise
        text, pooled = encode_text(networks, batch.ids)
        kept = (torch.rand(count, generator=generator) >= NO_TEXT_SHARE).float()
        added = {"text_embeds": pooled * kept[:, None], "time_ids": size_numbers(batch.pixels, count)}
        with captured_tokens(networks.unet) as tokens:
            predicted = networks.unet(noisy, timesteps, text * kept[:, None, None], added_cond_kwargs=added).sample
        snr = (alpha / (1.0 - alpha)).flatten()
        weight = (snr.clamp(max=SNR_LIMIT) / snr).clamp(min=LEAST_WEIGHT)
        squared = functional.mse_loss(predicted, noise, reduction="none").mean(dim=(1, 2, 3))
        denoising = (weight * squared).mean()
        clear = timesteps < SURFACE_BELOW
        terms = [
            place(layer[clear], batch.parts[clear], batch.uv[clear])[0]
            for layer, place in zip(tokens, networks.surface, strict=True)
        ]
        surface = torch.stack(terms).mean()
        values = {"loss": denoising, "eps_error": squared.mean(), "surface": surface}
        return denoising + SURFACE_WEIGHT * surface, {name: float(value.detach()) for name, value in values.items()}


def _stratified_timesteps(count: int, total: int, generator: torch.Generator) -> Tensor:
    """One uniform draw from each of equal ranges of the schedule, in random order; a share of them in CLEAR_RANGE."""
    clear = round(count * CLEAR_SHARE)
    first, last = (end / total for end in CLEAR_RANGE)
    low = first + (last - first) * _stratified(clear, generator)
    places = torch.cat([low, _stratified(count - clear, generator)])
    return (places[torch.randperm(count, generator=generator)] * total).long().clamp(max=total - 1)


def _stratified(count: int, generator: torch.Generator) -> Tensor:
    return (torch.arange(count) + torch.rand(count, generator=generator)) / max(1, count)
