"""One transfer, from two pictures to one: the whole story in six verbs.

    select      masks, from files, places and words
    prepare     sizes, alpha, masks: both pictures on one canvas
    encode      prompts and pictures in the network's terms
    correspond  who in the reference belongs to whom in the target
    sample      three rows, one call of the network per step
    finish      decode, and set the result into the target at its own size

This is the only place that takes knobs out of `TransferParams`; below it, functions receive plain values.
Method: Go, Choi, Shin, Uh, "Eye-for-an-eye" (arXiv 2406.07008), on SDXL; where we differ is said at each stage.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor

from core.canvas import Canvases, compose, fit_canvas, stretch_canvas, working_size
from core.correspond import Descriptors, Matches, describe, match_pictures, read_unet, read_vision
from core.denoise import LatentPair, PlannedStep, denoise
from core.freeu import FreeU, freeu
from core.guidance import NoisePredictor, falling_guidance, make_predictor
from core.latents import decode_latent, encode_picture, fit_latent_to_rgb, preview_picture
from core.masking import choose_mask
from core.match import TokenMap, token_mask
from core.models import Models
from core.modes import injecting
from core.params import TransferParams
from core.patch import select_layers
from core.pins import CanvasPins, place_pins
from core.rearrange import FeatureInjection, Injection, rearrange_picture
from core.schedule import REPLAYED, Step, make_steps, mix_noise
from core.text import encode_prompt
from core.timing import Clock, Stopwatch

Preview = Callable[[], UInt8[Tensor, "rows columns 3"]]
OnStep = Callable[[int, int, Preview], None]


@dataclass(frozen=True)
class Masks:
    """Where each picture takes part, as weights 0 to 1 of that picture's size. None: its alpha, or everywhere."""

    target: Float[Tensor, "target_height target_width"] | None = None
    reference: Float[Tensor, "reference_height reference_width"] | None = None


@dataclass(frozen=True)
class TransferResult:
    image: UInt8[Tensor, "height width channels"]
    """At the target's own pixel size, with the target's alpha when it had one."""
    seed: int
    timings: dict[str, float]
    """Milliseconds by verb."""
    matches: Matches
    masks: Masks = Masks()
    """The masks that were used, each at its picture's own size; None where the whole picture took part."""


def transfer(
    models: Models,
    target: Float[Tensor, "target_channels target_height target_width"],
    reference: Float[Tensor, "reference_channels reference_height reference_width"],
    params: TransferParams,
    *,
    prompt: str = "",
    negative_prompt: str = "",
    masks: Masks = Masks(),
    seed: int,
    on_step: OnStep | None = None,
    clock: Clock = time.perf_counter,
) -> TransferResult:
    """Repaint `target` with the appearance of `reference`, part by part.

    Pictures are RGB or RGBA, 0 to 1, of any size and aspect ratio. `on_step(step, steps, preview)` is called after
    every sampling step; `preview()` makes a small picture of the prediction so far, and raising stops the run.
    Whatever happens, the networks are left as they were. Same inputs, seed and machine: the same bytes.

    Raises EmptyMaskError, ShapeError, ModelMissingError or UnknownLayerError for inputs that cannot be worked with,
    NonFiniteError when the network fails numerically, and whatever `on_step` raises.
    """
    phase = Stopwatch(clock, models.device)
    with phase("select"):
        masks = select(models, target, reference, masks, params)
    with phase("prepare"):
        canvases = prepare(models, target, reference, masks, params)
    with phase("encode"):
        pair, predict = encode(models, canvases, prompt, negative_prompt, params)
    with phase("correspond"):
        token_map = correspond(models, canvases, pair, predict, params, seed)
    with phase("sample"):
        latent, token_map = sample(models, canvases, pair, predict, token_map, params, seed, on_step)
    with phase("finish"):
        mask = canvases.target_mask
        image = compose(decode_latent(models.vae, latent), target, mask, params.feather_px)
        matches = describe(token_map, canvases.target, canvases.reference)
    return TransferResult(image.cpu(), seed, phase.milliseconds, matches, masks)


def select(models: Models, target: Tensor, reference: Tensor, masks: Masks, params: TransferParams) -> Masks:
    """What takes part of each picture: uploaded masks, and what `params` says in places and words."""
    mode = params.mask_mode
    return Masks(
        choose_mask(models, target, masks.target, params.target_selection, mode=mode, role="target"),
        choose_mask(models, reference, masks.reference, params.reference_selection, mode=mode, role="reference"),
    )


@dataclass(frozen=True)
class MatchResult:
    seed: int
    timings: dict[str, float]
    matches: Matches
    masks: Masks


def match(
    models: Models,
    target: Float[Tensor, "target_channels target_height target_width"],
    reference: Float[Tensor, "reference_channels reference_height reference_width"],
    params: TransferParams,
    *,
    prompt: str = "",
    negative_prompt: str = "",
    masks: Masks = Masks(),
    seed: int,
    clock: Clock = time.perf_counter,
) -> MatchResult:
    """Who in `reference` belongs to whom in `target`: the verbs of `transfer` up to `correspond`, with its errors. No
    steps are there at which layers could match for themselves: one look answers also for `match_source` `layer`."""
    phase = Stopwatch(clock, models.device)
    with phase("select"):
        masks = select(models, target, reference, masks, params)
    with phase("prepare"):
        canvases = prepare(models, target, reference, masks, params)
    with phase("encode"):
        pair, predict = encode(models, canvases, prompt, negative_prompt, params)
    with phase("correspond"):
        given = (models, canvases, pair, predict, params, seed)
        matches = describe(correspond(*given) or _match_once(*given), canvases.target, canvases.reference)
    return MatchResult(seed, phase.milliseconds, matches, masks)


def prepare(models: Models, target: Tensor, reference: Tensor, masks: Masks, params: TransferParams) -> Canvases:
    """Both pictures at one working size: the target resized to the nearest supported one, the reference fitted in."""
    size = working_size(
        target.shape[1],
        target.shape[2],
        resolution=params.resolution or models.native_resolution,
        multiple=models.size_multiple,
    )
    target_canvas = stretch_canvas(target, masks.target, size).to(models.device)
    reference_canvas = fit_canvas(reference, masks.reference, size).to(models.device)
    return Canvases(target_canvas, reference_canvas, masks.target)


def encode(
    models: Models, canvases: Canvases, prompt: str, negative_prompt: str, params: TransferParams
) -> tuple[LatentPair, NoisePredictor]:
    """Clean latents of both pictures, and the UNet with its prompts and guidance bound."""
    height, width = canvases.target.mask.shape
    dtype = models.trajectory_dtype
    target = encode_picture(models.vae, canvases.target.picture, dtype)
    reference = encode_picture(models.vae, canvases.reference.picture, dtype)
    size = target.shape[2:]
    masks = [
        F.interpolate(c.mask[None, None].to(dtype), size=size, mode="area")[0, 0]
        for c in (canvases.target, canvases.reference)
    ]
    conditional = encode_prompt(models, prompt, height=height, width=width)
    unconditional = None
    if params.guidance_scale != 1.0:
        unconditional = encode_prompt(models, negative_prompt, height=height, width=width, negative=True)
    predict = make_predictor(models.unet, conditional, unconditional, params.guidance_scale)
    return LatentPair(target, reference, masks[0], masks[1]), predict


def correspond(
    models: Models, canvases: Canvases, pair: LatentPair, predict: NoisePredictor, params: TransferParams, seed: int
) -> TokenMap | None:
    """One map for all steps, or None where every layer matches for itself at every step, as in the paper.

    The network tells left from right badly: a reference that looks the other way is matched as its mirror image too,
    and the map whose matches are more alike is kept.
    """
    if params.match_source == "layer":
        return None
    pins = place_pins(params.pins, params.pin_radius, canvases.reference.box, models.device)
    upright = _match_once(models, canvases, pair, predict, params, seed, pins)
    if not params.match_mirrored:
        return upright
    seen = canvases.reference
    turned = replace(seen, picture=seen.picture.flip(-1), mask=seen.mask.flip(-1))
    flipped_canvases = replace(canvases, reference=turned)
    flipped = encode_picture(models.vae, flipped_canvases.reference.picture, pair.reference.dtype)
    flipped_pair = replace(pair, reference=flipped, reference_mask=pair.reference_mask.flip(-1))
    flipped_pins = pins and pins.mirrored()
    mirrored = _match_once(models, flipped_canvases, flipped_pair, predict, params, seed, flipped_pins).mirrored()
    inside = token_mask(pair.target_mask, upright.grid)
    return max(upright, mirrored, key=lambda token_map: float(token_map.similarity[inside].mean()))


def _match_once(
    models: Models,
    canvases: Canvases,
    pair: LatentPair,
    predict: NoisePredictor,
    params: TransferParams,
    seed: int,
    pins: CanvasPins | None = None,
) -> TokenMap:
    source = params.match_source
    if source == "auto":
        source = "one_shot" if models.correspondence is None else "fused"
    descriptors: list[Descriptors] = []
    if source != "vision":
        layers = select_layers(models.unet, params.match_layers)
        level, draws = params.match_noise_level, params.match_draws
        descriptors += read_unet(models, predict, pair, layers, noise_level=level, draws=draws, seed=seed)
    if source in ("vision", "fused"):
        grid = models.finest_grid((pair.target.shape[2], pair.target.shape[3]))
        descriptors += read_vision(models, canvases.target, canvases.reference, grid)
    smoothness, rigidity = params.match_smoothness, params.match_rigidity
    return match_pictures(descriptors, pair, smoothness=smoothness, rigidity=rigidity, pins=pins)


def sample(
    models: Models,
    canvases: Canvases,
    pair: LatentPair,
    predict: NoisePredictor,
    token_map: TokenMap | None,
    params: TransferParams,
    seed: int,
    on_step: OnStep | None,
) -> tuple[Tensor, TokenMap]:
    """The result's clean latent, and the map that made it (the last step's where each layer matched for itself)."""
    layers = select_layers(models.unet, params.injection_layers)
    steps = make_steps(models.alphas_cumprod, num_steps=params.num_steps, strength=params.strength)
    injection = FeatureInjection(pair.target_mask, pair.reference_mask, token_map, strength=params.injection_strength)
    factors = FreeU(params.freeu_b1, params.freeu_b2, params.freeu_s1, params.freeu_s2)
    pictures = [canvases.target.picture, canvases.reference.picture]
    latent_to_rgb = fit_latent_to_rgb([pair.target, pair.reference], pictures)

    def after_step(done: int, clean: Tensor) -> None:
        if on_step is not None:
            on_step(done, len(steps), lambda: preview_picture(clean, latent_to_rgb))

    def rearrange(matches: TokenMap) -> Tensor:
        if matches is not token_map:  # a layer's map of this step: cheap, on the latent's own grid
            return rearrange_picture(pair.reference[0], matches, pair.target_mask)[None]
        target, reference = canvases.target, canvases.reference
        moved = rearrange_picture(reference.picture, matches, target.mask, guide=target.picture)
        # Encoded amid the target's surroundings: a latent depends on what lies around it.
        picture = torch.lerp(target.picture, moved, target.mask)
        return encode_picture(models.vae, picture, pair.reference.dtype)

    with (
        freeu(models.unet, factors),
        injecting(models.unet, layers, injection, params.injection_mode, params.attention_contrast),
    ):
        latent = denoise(
            predict,
            pair,
            plan_steps(steps, params, inject=bool(layers)),
            injection,
            rearrange,
            eta=params.eta,
            prediction_type=models.prediction_type,
            seed=seed,
            after_step=after_step,
        )
    return latent, injection.last_map or _match_once(models, canvases, pair, predict, params, seed)


def plan_steps(steps: list[Step], params: TransferParams, *, inject: bool) -> list[PlannedStep]:
    """What is done at every step. Structure re-injection falls on the first injected step and every n-th after it."""
    plan: list[PlannedStep] = []
    injected = 0
    anchored = params.reanchor_level == 0.0
    for done, step in enumerate(steps):
        injection, guidance = Injection.NONE, 1.0
        if inject and step.inside(params.injection_range):
            every = params.reinjection_every
            again = every > 0 and injected % every == 0 and step.inside(params.reinjection_range)
            injection = Injection.STRUCTURE if again else Injection.MATCHED
            guidance = falling_guidance(params.injection_guidance, done, len(steps))
            injected += 1
        strength = params.clean_latent_strength if step.inside(params.clean_latent_range) else 0.0
        reanchor = not anchored and step.inside((params.reanchor_level, 0.0))
        anchored = anchored or reanchor
        mixed = step.inside(params.noise_range)
        mix = mix_noise(params.noise_mode, params.structure_strength) if mixed else REPLAYED
        plan.append(PlannedStep(step, injection, strength, step.inside(params.adain_range), reanchor, guidance, mix))
    return plan
