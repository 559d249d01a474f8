"""One training run in one folder: render, VAE, UNet and text encoders; every stage resumes or is skipped when done."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import AutoencoderKL, StableDiffusionXLPipeline
from transformers import CLIPTokenizer

from lab.scenes import Domain
from lab.train.architecture import MINI, SMOKE, Size, build_vae
from lab.train.autoencoder import VaeRecipe, normalise_latents, train_vae
from lab.train.curves import draw_curves
from lab.train.dataset import SceneSet, render_set
from lab.train.diffusion import BatchSource, Networks, build_networks
from lab.train.export import assemble, draw_sheet, export
from lab.train.loop import Recipe, train_networks
from lab.train.progress import load_state
from lab.train.tokens import TOKENIZERS, caption_words, write_tokenizers

PICTURE_SIZE = 128


@dataclass(frozen=True)
class Plan:
    """How long every stage runs."""

    scenes: int
    vae_steps: int
    steps: int
    ends_at: float | None
    threads: int
    start_from: Path | None = None
    """An exported checkpoint to go on from, with a fresh optimiser."""
    batch_seed: int = 1
    """Another seed gives other batches: change it when going on from a checkpoint."""
    small_until: float = 0.5

    @staticmethod
    def smoke() -> "Plan":
        """Enough to run every line."""
        return Plan(scenes=24, vae_steps=6, steps=4, ends_at=None, threads=1)


def train(folder: Path, plan: Plan, *, smoke: bool) -> None:
    """Runs all stages, or what is left of them after a kill."""
    folder.mkdir(parents=True, exist_ok=True)
    size = SMOKE if smoke else MINI
    scenes = render_set(folder / "set", plan.scenes, PICTURE_SIZE, Domain.TRAINING, plan.threads)
    if plan.start_from is not None:
        for name in ("vae", *TOKENIZERS):
            if not (folder / name).exists():
                shutil.copytree(plan.start_from / name, folder / name)
    vae = finished_vae(folder, scenes, size, plan.vae_steps)
    tokenizers = write_tokenizers(folder, caption_words())
    torch.manual_seed(0)
    networks = build_networks(size, len(tokenizers[0]))
    if plan.start_from is not None:
        _start_from(networks, plan.start_from)

    def sheet(average: Networks, step: int, small: bool) -> None:
        pixels = PICTURE_SIZE // 2 if small else PICTURE_SIZE
        draw_sheet(assemble(vae, average, tokenizers), pixels, folder / f"sheet-{step:06d}.png")

    recipe = Recipe(
        steps=plan.steps,
        batch_small=4 if smoke else 16,
        batch_full=2 if smoke else 8,
        small_until=plan.small_until,
        ends_at=plan.ends_at,
    )
    source = BatchSource(scenes, vae, tokenizers, seed=plan.batch_seed)
    train_networks(networks, source, folder, recipe, sheet)


def finished_vae(folder: Path, scenes: SceneSet, size: Size, steps: int) -> AutoencoderKL:
    """The run's frozen VAE with normalised latents, trained first where it is not there yet."""
    done = folder / "vae"
    if not (done / "config.json").exists():
        torch.manual_seed(0)
        vae = build_vae(size).to(memory_format=torch.channels_last)
        train_vae(vae, scenes.images, folder, VaeRecipe(steps))
        normalise_latents(vae, scenes.images[:512])
        vae.save_pretrained(done)
    frozen = AutoencoderKL.from_pretrained(done)
    frozen.requires_grad_(False)
    return frozen


def export_run(folder: Path, target: Path, *, smoke: bool) -> None:
    """Writes the moving average of the newest state as a pipeline folder in fp16, with how far it was trained
    (`training.json`), the loss curves and a sample sheet."""
    state = load_state(folder / "unet.pt")
    if state is None:
        raise SystemExit(f"no training state in {folder}")
    tokenizers: tuple[CLIPTokenizer, CLIPTokenizer] = write_tokenizers(folder, caption_words())
    networks = build_networks(SMOKE if smoke else MINI, len(tokenizers[0]))
    networks.modules().load_state_dict(state["average"])
    vae = AutoencoderKL.from_pretrained(folder / "vae")
    export(vae, networks, tokenizers, target)
    position = {"step": state["step"], "domain": str(Domain.TRAINING)}
    (target / "training.json").write_text(json.dumps(position, indent=1) + "\n")
    if not smoke:
        draw_curves(folder / "unet.csv", ("loss", "surface"), target / "loss.png")
        draw_sheet(assemble(vae, networks, tokenizers), PICTURE_SIZE, target / "samples.png")


def _start_from(networks: Networks, folder: Path) -> None:
    """Copies the weights of an exported checkpoint into fresh networks; the optimiser starts anew."""
    pipeline = StableDiffusionXLPipeline.from_pretrained(folder, dtype=torch.float32)
    networks.unet.load_state_dict(pipeline.unet.state_dict())
    networks.text.load_state_dict(pipeline.text_encoder.state_dict())
    networks.text_pooled.load_state_dict(pipeline.text_encoder_2.state_dict())
