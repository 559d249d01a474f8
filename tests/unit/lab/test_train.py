"""Training: the smoke run makes a checkpoint that SDXL's own pipeline loads, and a killed run goes on where it was."""

import copy
import csv
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionXLPipeline
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from transformers import Dinov2Model

from checkpoints.optional import load_correspondence, load_part_finder
from core.models.features import place_features
from lab.scenes import PART_ID, PARTS, Domain
from lab.train.architecture import MINI, SMOKE, build_unet, build_vae
from lab.train.autoencoder import normalise_latents, to_signed
from lab.train.clip import export_clip, train_clip
from lab.train.companion import Length
from lab.train.dataset import SceneSet, open_set, render_set
from lab.train.diffusion import BatchSource, build_networks
from lab.train.loop import Recipe, train_networks
from lab.train.progress import Budget, LossLog, learning_rate, load_state, save_state
from lab.train.run import Plan, train
from lab.train.surface import SurfaceEmbedding, captured_tokens
from lab.train.tokens import caption_words, encode_captions, learn_merges, write_tokenizers
from lab.train.vision import begin_as, build_vision, export_vision, train_vision


@pytest.fixture(scope="module")
def smoke_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The command as a user types it."""
    folder = tmp_path_factory.mktemp("smoke")
    command = [sys.executable, "-m", "lab.train", "--smoke", "--threads", "1", "--out", str(folder)]
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    return folder


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept:DeprecationWarning")
def test_the_smoke_run_loads_as_an_sdxl_pipeline(smoke_run: Path) -> None:
    pipeline = StableDiffusionXLPipeline.from_pretrained(smoke_run / "pipeline", dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    result = pipeline("a bird with red body", num_inference_steps=2, output_type="np", height=32, width=32)
    assert np.isfinite(result.images).all()
    assert pipeline.unet.config.addition_embed_type == "text_time"
    assert 0.5 < pipeline.vae.config.scaling_factor < 2.0


@pytest.mark.slow
def test_the_smoke_run_leaves_a_state_to_resume_from(smoke_run: Path) -> None:
    state = load_state(smoke_run / "unet.pt")
    assert state is not None
    assert state["step"] == 4


def test_a_killed_run_ends_with_the_weights_of_an_unbroken_one(tmp_path: Path) -> None:
    """Five steps at once equal three steps, a kill, and a second start to five."""
    scenes = render_set(tmp_path / "set", 8, 128, Domain.TRAINING)
    tokenizers = write_tokenizers(tmp_path, caption_words())

    def run(folder: Path, steps: int, horizon: int) -> dict[str, torch.Tensor]:
        folder.mkdir(exist_ok=True)
        torch.manual_seed(0)
        vae = build_vae(SMOKE)
        networks = build_networks(SMOKE, len(tokenizers[0]))
        source = BatchSource(scenes, vae, tokenizers, seed=3)
        recipe = Recipe(steps=steps, batch_small=3, batch_full=2, small_until=1.0, cooldown_over=horizon)
        train_networks(networks, source, folder, recipe, lambda *_: None)
        state = load_state(folder / "unet.pt")
        assert state is not None
        weights: dict[str, torch.Tensor] = state["average"]
        return weights

    whole = run(tmp_path / "whole", 5, 100)
    run(tmp_path / "broken", 3, 100)
    resumed = run(tmp_path / "broken", 5, 100)
    for name, tensor in whole.items():
        torch.testing.assert_close(resumed[name], tensor, rtol=0.0, atol=0.0)


def test_the_mini_fits_its_budget() -> None:
    from torch.utils.flop_counter import FlopCounterMode

    unet = build_unet(MINI).eval()
    width = sum(MINI.text_widths)
    added = {"text_embeds": torch.zeros(1, MINI.text_widths[1]), "time_ids": torch.zeros(1, 6)}
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        unet(torch.zeros(1, 4, 64, 64), 10, torch.zeros(1, 77, width), added_cond_kwargs=added)
    assert counter.get_total_flops() / 2 <= 2.6e9
    parameters = sum(weight.numel() for weight in (*unet.parameters(), *build_vae(MINI).parameters()))
    assert parameters <= 9_000_000


def test_normalised_latents_have_unit_variance_and_decode_alike() -> None:
    torch.manual_seed(0)
    vae = build_vae(SMOKE).eval()
    images = np.random.default_rng(0).integers(0, 256, (6, 16, 16, 3), dtype=np.uint8)
    pictures = to_signed(images)
    with torch.no_grad():
        before = vae.decode(vae.encode(pictures).latent_dist.mean).sample
        spread = vae.encode(pictures).latent_dist.std
        old = vae.encode(pictures).latent_dist.mean.std(dim=(0, 2, 3))
        normalise_latents(vae, images)
        posterior = vae.encode(pictures).latent_dist
        after = vae.decode(posterior.mean).sample
    torch.testing.assert_close(after, before, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(posterior.mean.std(dim=(0, 2, 3)), torch.ones(4), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(posterior.std, spread / old[None, :, None, None], rtol=1e-3, atol=1e-5)


def test_words_are_single_tokens_and_padding_is_sdxls(tmp_path: Path) -> None:
    first, second = write_tokenizers(tmp_path, caption_words())
    sentence = "a quadruped with striped red and white body, marbled teal legs"
    assert len(first.tokenize(sentence)) == len(sentence.replace(",", " ,").split())
    ids = [encode_captions(tokenizer, [sentence])[0] for tokenizer in (first, second)]
    assert first.eos_token_id == len(first) - 1
    assert int(ids[0][-1]) == first.eos_token_id
    assert second.decode([int(ids[1][-1])]) == "!"


@given(st.lists(st.text("abcd", min_size=1, max_size=6), min_size=1, max_size=12))
def test_the_words_alone_decide_on_the_merges(words: list[str]) -> None:
    merges = learn_merges(words)
    assert merges == learn_merges(reversed(words))
    tokens = {letter + end for letter in "abcd" for end in ("", "</w>")}
    for first, second in merges:
        assert {first, second} <= tokens
        tokens.add(first + second)
    assert {word + "</w>" for word in words} <= tokens


@pytest.fixture
def known_surface() -> tuple[SurfaceEmbedding, Tensor, Tensor, Tensor]:
    """A surface whose vectors spell out part and place; of some of its places the tokens that encode them, the parts
    and the canonical coordinates."""
    surface = SurfaceEmbedding(len(PARTS) + 2)
    with torch.no_grad():
        surface.vectors.copy_(torch.cat([torch.eye(len(PARTS))[surface.part], 2.0 * surface.position], dim=1))
    places = torch.arange(0, len(surface.vectors), 7)
    parts = surface.part[places][None]
    uv = (surface.position[places] / surface.scale[parts[0]])[None]
    return surface, surface.vectors[places][None].detach(), parts, uv


@torch.no_grad()
def test_the_surface_loss_is_of_part_and_place_of_what_is_not_held_out(
    known_surface: tuple[SurfaceEmbedding, Tensor, Tensor, Tensor],
) -> None:
    torch.manual_seed(0)
    surface, known, parts, uv = known_surface
    good, turned = surface(known, parts, uv)[0], surface(known, parts, -uv)[0]
    blind = surface(torch.randn(known.shape), parts, uv)[0]
    assert float(good) < float(turned)
    assert float(good) < float(blind) / 2
    flowers = torch.full_like(parts, PART_ID["petals"])
    assert [float(loss) for loss in surface(known, flowers, uv)] == [0.0, 0.0]
    background = torch.zeros_like(parts)
    assert float(
        surface(torch.cat([known, known * 9], 1), torch.cat([parts, background], 1), uv.repeat(1, 2, 1))[0]
    ) == float(good), "the background has no weight"


@torch.no_grad()
def test_the_ends_of_a_figure_are_distinguished(
    known_surface: tuple[SurfaceEmbedding, Tensor, Tensor, Tensor],
) -> None:
    surface, known, parts, uv = known_surface
    places = torch.arange(len(surface.part))
    leg = surface.part == PART_ID["near foreleg"]
    counterpart = surface.opposite[leg]
    assert set(surface.part[counterpart].tolist()) == {PART_ID["near hindleg"]}
    torch.testing.assert_close(surface.position[counterpart], surface.position[leg] * torch.tensor([1.0, -1.0]))
    assert torch.equal(surface.opposite[surface.opposite], places), "the opposite's opposite is the place itself"
    wheel, door = (surface.part == PART_ID[name] for name in ("front wheel", "door"))
    assert set(surface.part[surface.opposite[wheel]].tolist()) == {PART_ID["rear wheel"]}
    assert set(surface.part[surface.opposite[door]].tolist()) == {PART_ID["door"]}
    right = surface(known, parts, uv)[1]
    wrong = surface(known, parts, uv * torch.tensor([-1.0, 1.0]))[1]
    same = surface(torch.ones_like(known), parts, uv)[1]
    assert float(right) < float(same) < float(wrong)


@torch.no_grad()
def test_places_begin_with_the_features_that_tokens_have(
    known_surface: tuple[SurfaceEmbedding, Tensor, Tensor, Tensor],
) -> None:
    _, tokens, parts, uv = known_surface
    fresh = SurfaceEmbedding(tokens.shape[2])
    before = fresh.vectors.clone()
    fresh.begin_with([(tokens, parts, uv)])
    asked = torch.zeros(len(before), dtype=torch.bool)
    asked[::7] = True
    assert torch.equal(fresh.vectors[~asked], before[~asked]), "what nobody saw stays"
    expected = torch.nn.functional.normalize(tokens[0] - tokens[0].mean(0), dim=-1)
    torch.testing.assert_close(fresh.vectors[asked], expected)


@torch.no_grad()
def test_a_deeper_correspondence_model_begins_as_the_one_it_goes_on_from() -> None:
    torch.manual_seed(0)
    deeper = build_vision()
    config = copy.deepcopy(deeper.config)
    config.num_hidden_layers = 6
    smaller = Dinov2Model(config)
    pictures = torch.rand(2, 3, 128, 128)
    before = deeper(pixel_values=pictures).last_hidden_state
    begin_as(deeper, smaller)
    after = deeper(pixel_values=pictures).last_hidden_state
    torch.testing.assert_close(after, smaller(pixel_values=pictures).last_hidden_state)
    assert not torch.allclose(after, before, atol=0.1)


def test_captured_tokens_are_the_last_two_decoder_self_attentions() -> None:
    unet = build_unet(SMOKE)
    added = {"text_embeds": torch.zeros(2, 16), "time_ids": torch.zeros(2, 6)}
    with captured_tokens(unet) as tokens:
        unet(torch.zeros(2, 4, 16, 16), 10, torch.zeros(2, 77, 32), added_cond_kwargs=added)
    assert [tuple(layer.shape) for layer in tokens] == [(2, 64, 16), (2, 64, 16)]
    assert not unet.up_blocks[1].attentions[0].transformer_blocks[0].attn1._forward_pre_hooks


def test_the_loss_log_forgets_steps_after_the_state(tmp_path: Path) -> None:
    log = LossLog(tmp_path / "log.csv", 0, every=1)
    for step in (1, 2, 3):
        log.add(step, {"loss": float(step)})
    LossLog(tmp_path / "log.csv", 2, every=1).add(3, {"loss": 9.0})
    with (tmp_path / "log.csv").open() as stream:
        assert [(row["step"], float(row["loss"])) for row in csv.DictReader(stream)] == [
            ("1", 1.0),
            ("2", 2.0),
            ("3", 9.0),
        ]


def test_state_files_and_schedules(tmp_path: Path) -> None:
    assert load_state(tmp_path / "none.pt") is None
    save_state(tmp_path / "state.pt", {"step": 3})
    assert load_state(tmp_path / "state.pt") == {"step": 3}
    assert learning_rate(0, 100, 1.0, warmup=10) == pytest.approx(0.1)
    assert learning_rate(100, 100, 1.0, warmup=10) == pytest.approx(0.05)
    assert Budget(10, None, 0.0).share(5) == 0.5
    assert Budget(10, 1.0, 0.0).share(0) == 1.0


@pytest.mark.slow
def test_training_goes_on_from_an_exported_checkpoint(smoke_run: Path, tmp_path: Path) -> None:
    (tmp_path / "set").symlink_to(smoke_run / "set")
    start = smoke_run / "pipeline"
    train(tmp_path, replace(Plan.smoke(), steps=1, start_from=start, batch_seed=2), smoke=True)
    state = load_state(tmp_path / "unet.pt")
    assert state is not None
    old = StableDiffusionXLPipeline.from_pretrained(start, dtype=torch.float32).unet.state_dict()
    for name, weight in old.items():
        assert float((state["model"][f"unet.{name}"] - weight).abs().max()) < 0.01
    assert json.loads((start / "training.json").read_text())["step"] == 4


def trained_whole_and_broken(
    place: Path,
    scenes: SceneSet,
    train: Callable[[Path, SceneSet, Length], None],
    export: Callable[[Path, Path], None],
) -> list[str]:
    """Checkpoint folders of a run of three steps in one go, and of one that was stopped after two."""
    train(place / "whole", scenes, Length(steps=3, batch=4))
    for steps in (2, 3):
        train(place / "broken", scenes, Length(steps=steps, batch=4, schedule_steps=3))
    folders = [place / name / "model" for name in ("whole", "broken")]
    for folder in folders:
        export(folder.parent, folder)
    return [str(folder) for folder in folders]


def test_the_correspondence_model_trains_resumes_and_loads(smoke_run: Path, tmp_path: Path) -> None:
    folders = trained_whole_and_broken(tmp_path, open_set(smoke_run / "set"), train_vision, export_vision)
    whole, broken = (load_correspondence(folder, None, torch.device("cpu")) for folder in folders)
    assert (whole.side_px, whole.network.config.patch_size) == (128, 8)
    picture = torch.rand(1, 3, 128, 128)
    features = place_features(whole, picture, (32, 32))
    assert features.shape == (1, 1024, 128)
    torch.testing.assert_close(features, place_features(broken, picture, (32, 32)), rtol=0, atol=0)


def test_the_part_finder_trains_resumes_and_loads(smoke_run: Path, tmp_path: Path) -> None:
    folders = trained_whole_and_broken(tmp_path, open_set(smoke_run / "set"), train_clip, export_clip)
    whole, broken = (load_part_finder(folder, None, torch.device("cpu")) for folder in folders)
    picture = torch.rand(3, 128, 128)
    shares = whole.shares(picture, ["wing", "front wheel"], (32, 32))
    assert shares.shape == (1024, 2)
    torch.testing.assert_close(shares, broken.shares(picture, ["wing", "front wheel"], (32, 32)), rtol=0, atol=0)
