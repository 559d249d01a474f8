"""One transfer, from two pictures to one, in six stages.

    select      masks, from files, places and words
    prepare     sizes, alpha, masks: all pictures on one canvas
    encode      prompts and pictures as the networks need them, references extrapolated: the scene
    correspond  which place of the reference each place of the target matches
    sample      the references warped onto the target; one call of the UNet per step for output, references, structure
    finish      decode, and set the result into the target at its own size

`select`, `prepare` and `encode` run once for a job; `correspond` and `finish` once for each seed, and `sample` for all
seeds in one batch. A stage takes the group of parameters that is for it; `encode` and `sample`, which need several,
take all. What calls the stages resolves the parameters first: `TransferParams.resolved()` fills in the values of the
preset wherever none was given, so that stages read plain values and know of no preset. docs/method.md has the
equations.
Method: Go, Choi, Shin, Uh, "Eye-for-an-eye" (arXiv 2406.07008), on SDXL; each stage documents where it differs.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from jaxtyping import UInt8
from torch import Tensor

from core.images.canvas import compose, covers_all, extrapolate, to_device, working_size
from core.images.color import keep_lightness
from core.images.geometry import shrink_mask
from core.masks.regions import (
    NONE_NAMED,
    UNMASKED,
    Canvases,
    Masks,
    Named,
    SelectedRegion,
    place_regions,
    select_regions,
    select_surely,
    union,
)
from core.matching.correspondence import Correspondence, Matches, describe
from core.matching.one_shot import match_regions
from core.models.models import Models, encode_prompt
from core.models.unet import make_predictor
from core.models.vae import decode_latent, encode_picture, fit_latent_to_rgb, preview_picture
from core.params.transfer import MaskParams, MatchingParams, OutputParams, TransferParams
from core.sampling.sampler import Sampled, Start, sample
from core.scene import Scene
from core.types import Canvas, EncodedRegion, Image, ImageMask, LatentMask, Mask

Preview = Callable[[], UInt8[Tensor, "rows columns 3"]]
OnStep = Callable[[int, int, Preview], None]
Clock = Callable[[], float]
"""Seconds from any fixed point, monotonic."""


@dataclass(frozen=True, eq=False)
class TransferInputs:
    """The pictures, masks and prompts of a transfer."""

    target: Tensor
    """Its structure is kept. RGB or RGBA `[channels, height, width]`, 0 to 1, of any size and aspect ratio."""
    reference: Tensor
    """Its appearance is taken; likewise, of any other size."""
    masks: Masks = UNMASKED
    named: Named = NONE_NAMED
    """The pictures and masks that regions name."""
    prompt: str = ""
    negative_prompt: str = ""


@dataclass(frozen=True)
class TransferResult:
    """One finished picture."""

    image: UInt8[Tensor, "height width channels"]
    """At the target's own pixel size, with the target's alpha when it had one."""
    seed: int
    timings: dict[str, float]
    """Milliseconds by stage; of the whole batch, where seeds shared one."""
    matches: Matches
    """The correspondence that was used; of one that is made while sampling, the last. Where none was made, that of the
    clean pictures."""
    masks: Masks = UNMASKED
    """The masks that were used, each at its picture's own size; None where the whole picture took part. With regions,
    the target's is all of them together."""
    references: tuple[Tensor, ...] = ()
    """The picture in which the places of `matches` lie, for every region."""


@dataclass(frozen=True)
class MatchResult:
    """The correspondence alone; fields as those of a transfer."""

    seed: int
    timings: dict[str, float]
    matches: Matches
    masks: Masks
    references: tuple[Tensor, ...] = ()


def transfer(
    models: Models,
    inputs: TransferInputs,
    params: TransferParams,
    *,
    seed: int,
    on_step: OnStep | None = None,
    clock: Clock = time.perf_counter,
) -> TransferResult:
    """Repaint the target with the appearance of the reference, part by part.

    `on_step(step, steps, preview)` is called after every sampling step; `preview()` makes a small picture of the
    prediction so far, and raising stops the run. Whatever happens, the networks are left as they were. Same inputs,
    seed and machine: the same bytes.

    Raises EmptyMaskError, ShapeError, ModelMissingError, PictureMissingError or UnknownLayerError for inputs that
    cannot be worked with, NonFiniteError when the network fails numerically, and whatever `on_step` raises.
    """
    (result,) = transfer_variants(models, inputs, params, seeds=[seed], on_step=on_step, clock=clock)
    return result


def transfer_variants(
    models: Models,
    inputs: TransferInputs,
    params: TransferParams,
    *,
    seeds: Sequence[int],
    on_step: OnStep | None = None,
    clock: Clock = time.perf_counter,
) -> list[TransferResult]:
    """As `transfer`, one result for each seed, in one batch: each is what it would be alone, up to the rounding of a
    larger batch. Previews show the first."""
    params = params.resolved()
    phase = Stopwatch(clock, models.device)
    scene, masks, references = build_scene(models, inputs, params, phase)
    with phase("correspond"):
        starts = [Start(seed, correspond(scene, params.matching, seed)) for seed in seeds]
    with phase("sample"):
        sampled = sample(scene, starts, params, preview_after_step(scene, on_step))
    with phase("finish"):
        images = [finish(models, inputs.target, masks.target, scene.target, one, params.output) for one in sampled]
        maps = [
            one.matched or match_regions(scene, params.matching, seed) for one, seed in zip(sampled, seeds, strict=True)
        ]
        matches = [describe(one, scene.target.mask, scene.regions) for one in maps]
    return [
        TransferResult(image, seed, phase.milliseconds, found, masks, references)
        for image, seed, found in zip(images, seeds, matches, strict=True)
    ]


def match(
    models: Models, inputs: TransferInputs, params: TransferParams, *, seed: int, clock: Clock = time.perf_counter
) -> MatchResult:
    """Which place of the reference each place of the target matches: the stages of `transfer` up to `correspond`,
    with its errors. There are no steps at which maps could be made: one-shot matching serves also for `matching.source`
    `per_layer` and `per_step`."""
    params = params.resolved()
    phase = Stopwatch(clock, models.device)
    scene, masks, references = build_scene(models, inputs, params, phase)
    with phase("correspond"):
        matches = describe(match_regions(scene, params.matching, seed), scene.target.mask, scene.regions)
    return MatchResult(seed, phase.milliseconds, matches, masks, references)


def build_scene(
    models: Models, inputs: TransferInputs, params: TransferParams, phase: "Stopwatch"
) -> tuple[Scene, Masks, tuple[Tensor, ...]]:
    """The stages `select`, `prepare` and `encode`: the scene, the masks that were used, and every region's reference.
    `params` are resolved, as in all stages; `phase` measures them."""
    with phase("select"):
        regions, masks = select(models, inputs, params.masks)
    with phase("prepare"):
        canvases = prepare(models, inputs.target, regions, params.resolution)
    with phase("encode"):
        scene = encode(models, canvases, regions, inputs, params)
    return scene, masks, tuple(region.reference for region in regions)


def select(models: Models, inputs: TransferInputs, params: MaskParams) -> tuple[list[SelectedRegion], Masks]:
    """What takes part, from uploaded masks and the selections of `params`; and the masks that this comes to, each of
    its picture's size."""
    target, reference, mode = inputs.target, inputs.reference, params.mode
    given, here, there = inputs.masks, params.target_selection, params.reference_selection
    mask, sure = select_surely(models, target, given.target, here, mode=mode, role="target", other=reference)
    other_mask, other_sure = select_surely(
        models, reference, given.reference, there, mode=mode, role="reference", other=target
    )
    used = Masks(mask, other_mask, sure, other_sure)
    regions = select_regions(models, target, reference, used, params.regions, inputs.named, mode)
    return regions, replace(used, target=union(regions))


def prepare(models: Models, target: Image, regions: Sequence[SelectedRegion], resolution: int | None) -> Canvases:
    """All pictures at one working size, on the networks' device: the target resized to the nearest size that they
    support, references fitted in. `resolution`: side in pixels of the square of that area; None: the checkpoint's."""
    size = working_size(
        target.shape[1],
        target.shape[2],
        resolution=resolution or models.native_resolution,
        multiple=models.size_multiple,
    )
    placed = place_regions(target, regions, size)
    return Canvases(
        to_device(placed.target, models.device),
        tuple(to_device(reference, models.device) for reference in placed.references),
        tuple(mask.to(models.device) for mask in placed.target_masks),
    )


def encode(
    models: Models,
    canvases: Canvases,
    regions: Sequence[SelectedRegion],
    inputs: TransferInputs,
    params: TransferParams,
) -> Scene:
    """Clean latents of the target and each region's reference, the references with their colours continued beyond their
    masks, and the UNet with its prompts and guidance bound. Raises NonFiniteError."""
    height, width = canvases.target.mask.shape
    target = encode_picture(models.vae, canvases.target.picture, models.trajectory_dtype)
    size = (target.shape[2], target.shape[3])

    def encoded(reference: Canvas, mask: Mask, scale: float) -> EncodedRegion:
        def small(weights: Mask) -> LatentMask:
            return shrink_mask(weights.to(models.trajectory_dtype), size)

        return EncodedRegion(
            reference,
            extrapolate(reference.picture, reference.mask),
            mask,
            figure=not (bool((mask > 0.0).all()) and covers_all(reference)),
            reference_latent=encode_picture(models.vae, reference.picture, models.trajectory_dtype),
            target_latent_mask=small(mask),
            reference_latent_mask=small(reference.mask),
            scale=scale * params.output.appearance_scale,
        )

    placed = zip(canvases.references, canvases.target_masks, regions, strict=True)
    encoded_regions = tuple(encoded(reference, mask, region.scale) for reference, mask, region in placed)
    conditional = encode_prompt(models, inputs.prompt, height=height, width=width)
    unconditional = None
    if params.guidance_scale != 1.0:
        unconditional = encode_prompt(models, inputs.negative_prompt, height=height, width=width, negative=True)
    predict = make_predictor(models.unet, conditional, unconditional, params.guidance_scale)
    resolution = params.resolution or models.native_resolution
    return Scene(models, canvases.target, target, size, encoded_regions, predict, resolution)


def correspond(scene: Scene, params: MatchingParams, seed: int) -> list[Correspondence] | None:
    """One correspondence per region for all steps, or None where they are made while sampling. Raises
    ModelMissingError, NonFiniteError and UnknownLayerError."""
    return None if params.source in ("per_layer", "per_step") else match_regions(scene, params, seed)


def preview_after_step(scene: Scene, on_step: OnStep | None) -> Callable[[int, int, Tensor], None]:
    """The function that the sampler calls after a step: it hands `on_step` a preview that is made only when asked
    for."""
    latents = [scene.target_latent, *(region.reference_latent for region in scene.regions)]
    pictures = [scene.target.picture, *(region.reference.picture for region in scene.regions)]
    latent_to_rgb = fit_latent_to_rgb(latents, pictures)

    def after_step(done: int, steps: int, clean: Tensor) -> None:
        if on_step is not None:
            on_step(done, steps, lambda: preview_picture(clean, latent_to_rgb))

    return after_step


def finish(
    models: Models, target: Image, mask: ImageMask | None, canvas: Canvas, sampled: Sampled, params: OutputParams
) -> UInt8[Tensor, "image_height image_width image_channels"]:
    """The picture of a clean latent, set into the target at its own size; `mask` is what is repainted, None:
    everything."""
    generated = decode_latent(models.vae, sampled.latent)
    if params.keep_lightness:
        generated = keep_lightness(generated, canvas.picture)
    return compose(generated, target, mask, params.feather_px).cpu()


class Stopwatch:
    """`with stopwatch("sample"): ...` puts the milliseconds spent into `milliseconds["sample"]`, measured when the
    device has finished the work."""

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
