"""Time per phase, measured when the device has finished the work.

One transfer, from two pictures to one: the whole story in six verbs.

    select      masks, from files, places and words
    prepare     sizes, alpha, masks: all pictures on one canvas
    encode      prompts and pictures in the network's terms
    correspond  who in the reference belongs to whom in the target
    sample      output, references and structure as rows of one call of the network per step
    finish      decode, and set the result into the target at its own size

Verbs take knobs out of `TransferParams`, here, in `core.matching.one_shot`, `core.sampling.sampler` and
`core.sampling.sampler`; below them,
functions receive plain values.
Method: Go, Choi, Shin, Uh, "Eye-for-an-eye" (arXiv 2406.07008), on SDXL; where we differ is said at each stage.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from core.images.canvas import compose, working_size
from core.images.color import keep_lightness
from core.images.geometry import shrink_mask
from core.masks.regions import (
    NONE_NAMED,
    UNMASKED,
    Canvases,
    ChosenRegion,
    Masks,
    Named,
    all_of,
    choose_mask,
    choose_regions,
    place_regions,
)
from core.matching.correspondence import Matches, describe
from core.matching.one_shot import correspond, look_once
from core.models.models import Models
from core.models.text_encoder import encode_prompt
from core.models.unet import NoisePredictor, make_predictor
from core.models.vae import decode_latent, encode_picture, fit_latent_to_rgb, preview_picture
from core.params.transfer import TransferParams
from core.sampling.sampler import Sampled, Start, sample
from core.types import LatentPair

Clock = Callable[[], float]
"""Seconds from any fixed point, monotonic."""


class Stopwatch:
    """`with stopwatch("sample"): ...` adds the milliseconds spent to `milliseconds["sample"]`."""

    def __init__(self, clock: Clock, device: torch.device) -> None:
        self._clock = clock
        self._device = device
        self.milliseconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, phase: str) -> Iterator[None]:
        started = self._clock()
        try:
            yield
        finally:
            if self._device.type == "cuda":
                torch.cuda.synchronize(self._device)
            self.milliseconds[phase] = round((self._clock() - started) * 1000.0, 3)


Preview = Callable[[], UInt8[Tensor, "rows columns 3"]]
OnStep = Callable[[int, int, Preview], None]


@dataclass(frozen=True)
class TransferResult:
    image: UInt8[Tensor, "height width channels"]
    """At the target's own pixel size, with the target's alpha when it had one."""
    seed: int
    timings: dict[str, float]
    """Milliseconds by verb; of the whole batch, where seeds shared one."""
    matches: Matches
    masks: Masks = UNMASKED
    """The masks that were used, each at its picture's own size; None where the whole picture took part. With regions,
    the target's is all of them together."""
    references: tuple[Tensor, ...] = ()
    """The picture in which the places of `matches` lie, for every region."""


@dataclass(frozen=True)
class MatchResult:
    seed: int
    timings: dict[str, float]
    matches: Matches
    masks: Masks
    references: tuple[Tensor, ...] = ()
    """As of a transfer."""


def transfer(
    models: Models,
    target: Float[Tensor, "target_channels target_height target_width"],
    reference: Float[Tensor, "reference_channels reference_height reference_width"],
    params: TransferParams,
    *,
    prompt: str = "",
    negative_prompt: str = "",
    masks: Masks = UNMASKED,
    named: Named = NONE_NAMED,
    seed: int,
    on_step: OnStep | None = None,
    clock: Clock = time.perf_counter,
) -> TransferResult:
    """Repaint `target` with the appearance of `reference`, part by part.

    Pictures are RGB or RGBA, 0 to 1, of any size and aspect ratio; `named` holds those that regions name.
    `on_step(step, steps, preview)` is called after every sampling step; `preview()` makes a small picture of the
    prediction so far, and raising stops the run. Whatever happens, the networks are left as they were. Same inputs,
    seed and machine: the same bytes.

    Raises EmptyMaskError, ShapeError, ModelMissingError, PictureMissingError or UnknownLayerError for inputs that
    cannot be worked with, NonFiniteError when the network fails numerically, and whatever `on_step` raises.
    """
    (result,) = transfer_variants(
        models,
        target,
        reference,
        params,
        prompt=prompt,
        negative_prompt=negative_prompt,
        masks=masks,
        named=named,
        seeds=[seed],
        on_step=on_step,
        clock=clock,
    )
    return result


def transfer_variants(
    models: Models,
    target: Float[Tensor, "target_channels target_height target_width"],
    reference: Float[Tensor, "reference_channels reference_height reference_width"],
    params: TransferParams,
    *,
    prompt: str = "",
    negative_prompt: str = "",
    masks: Masks = UNMASKED,
    named: Named = NONE_NAMED,
    seeds: Sequence[int],
    on_step: OnStep | None = None,
    clock: Clock = time.perf_counter,
) -> list[TransferResult]:
    """As `transfer`, one result for each seed, in one batch: each is what it would be alone, up to the rounding of a
    larger batch. Previews show the first."""
    phase = Stopwatch(clock, models.device)
    with phase("select"):
        regions, used = select(models, target, reference, masks, params, named)
    with phase("prepare"):
        canvases = prepare(models, target, regions, params)
    with phase("encode"):
        pairs, predict = encode(models, canvases, prompt, negative_prompt, params)
    given = (models, canvases, pairs, predict)
    with phase("correspond"):
        starts = [Start(seed, correspond(*given, params, seed)) for seed in seeds]
    with phase("sample"):
        after_step = shown(on_step, canvases, pairs)
        sampled = sample(*given, starts, params, after_step)
    with phase("finish"):
        images = [finish(models, target, canvases, one, params) for one in sampled]
        maps = [one.matched or look_once(*given, params, seed) for one, seed in zip(sampled, seeds, strict=True)]
        matches = [describe(one, canvases) for one in maps]
    seen_in = tuple(region.reference for region in regions)
    return [
        TransferResult(image, seed, phase.milliseconds, found, used, seen_in)
        for image, seed, found in zip(images, seeds, matches, strict=True)
    ]


def match(
    models: Models,
    target: Float[Tensor, "target_channels target_height target_width"],
    reference: Float[Tensor, "reference_channels reference_height reference_width"],
    params: TransferParams,
    *,
    prompt: str = "",
    negative_prompt: str = "",
    masks: Masks = UNMASKED,
    named: Named = NONE_NAMED,
    seed: int,
    clock: Clock = time.perf_counter,
) -> MatchResult:
    """Who in `reference` belongs to whom in `target`: the verbs of `transfer` up to `correspond`, with its errors. No
    steps are there at which maps could be made: one look answers also for `match_source` `layer` and `step`."""
    phase = Stopwatch(clock, models.device)
    with phase("select"):
        regions, used = select(models, target, reference, masks, params, named)
    with phase("prepare"):
        canvases = prepare(models, target, regions, params)
    with phase("encode"):
        pairs, predict = encode(models, canvases, prompt, negative_prompt, params)
    with phase("correspond"):
        matches = describe(look_once(models, canvases, pairs, predict, params, seed), canvases)
    return MatchResult(seed, phase.milliseconds, matches, used, tuple(region.reference for region in regions))


def select(
    models: Models, target: Tensor, reference: Tensor, masks: Masks, params: TransferParams, named: Named = NONE_NAMED
) -> tuple[list[ChosenRegion], Masks]:
    """What takes part: uploaded masks, and what `params` says in places and words; and the masks that this comes to."""
    mode = params.mask_mode
    used = Masks(
        choose_mask(models, target, masks.target, params.target_selection, mode=mode, role="target"),
        choose_mask(models, reference, masks.reference, params.reference_selection, mode=mode, role="reference"),
    )
    regions = choose_regions(models, target, reference, used, params.regions, named, mode)
    return regions, Masks(all_of(regions), used.reference)


def prepare(models: Models, target: Tensor, regions: Sequence[ChosenRegion], params: TransferParams) -> Canvases:
    """All pictures at one working size: the target resized to the nearest supported one, references fitted in."""
    size = working_size(
        target.shape[1],
        target.shape[2],
        resolution=params.resolution or models.native_resolution,
        multiple=models.size_multiple,
    )
    return place_regions(target, regions, size).to(models.device)


def encode(
    models: Models, canvases: Canvases, prompt: str, negative_prompt: str, params: TransferParams
) -> tuple[list[LatentPair], NoisePredictor]:
    """Clean latents of the target and each region's reference, and the UNet with its prompts and guidance bound."""
    height, width = canvases.target.mask.shape
    dtype = models.trajectory_dtype
    target = encode_picture(models.vae, canvases.target.picture, dtype)

    size = (target.shape[2], target.shape[3])
    pairs = [
        LatentPair(
            target,
            encode_picture(models.vae, region.reference.picture, dtype),
            shrink_mask(region.target_mask.to(dtype), size),
            shrink_mask(region.reference.mask.to(dtype), size),
            region.strength * params.appearance_strength,
        )
        for region in canvases.regions
    ]
    conditional = encode_prompt(models, prompt, height=height, width=width)
    unconditional = None
    if params.guidance_scale != 1.0:
        unconditional = encode_prompt(models, negative_prompt, height=height, width=width, negative=True)
    return pairs, make_predictor(models.unet, conditional, unconditional, params.guidance_scale)


def shown(
    on_step: OnStep | None, canvases: Canvases, pairs: Sequence[LatentPair]
) -> Callable[[int, int, Tensor], None]:
    """What the sampler calls after a step, for a caller who wants pictures."""
    latents = [pairs[0].target, *(pair.reference for pair in pairs)]
    pictures = [canvases.target.picture, *(region.reference.picture for region in canvases.regions)]
    latent_to_rgb = fit_latent_to_rgb(latents, pictures)

    def after_step(done: int, steps: int, clean: Tensor) -> None:
        if on_step is not None:
            on_step(done, steps, lambda: preview_picture(clean, latent_to_rgb))

    return after_step


def finish(models: Models, target: Tensor, canvases: Canvases, sampled: Sampled, params: TransferParams) -> Tensor:
    """The picture of a clean latent, set into the target at its own size."""
    generated = decode_latent(models.vae, sampled.latent)
    if params.colour_only:
        generated = keep_lightness(generated, canvases.target.picture)
    return compose(generated, target, canvases.target_mask, params.feather_px).cpu()
