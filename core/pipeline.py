"""One transfer, from two pictures to one, in six stages.

    select      masks, from files, places and words
    prepare     sizes, alpha, masks: every figure on a canvas of its own
    encode      prompts and pictures in the network's terms: the scene
    correspond  which place of the reference each place of the target matches
    sample      output, references and structure as rows of one call of the network per step
    finish      the target's own size: warped pixels, what the network changed, stitched into the target

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
from dataclasses import dataclass

import torch
from jaxtyping import UInt8
from torch import Tensor

from core.finish import Finished, Proposal, sample_plane, stitch
from core.images.canvas import covers_all, to_device
from core.images.geometry import resize_image, shrink_mask
from core.masks.regions import (
    NONE_NAMED,
    UNMASKED,
    Masks,
    Named,
    SelectedRegion,
    place_figure,
    select_mask,
    select_regions,
    split_figures,
    union,
)
from core.matching.correspondence import Correspondence, Described, Matches, describe
from core.matching.one_shot import match_regions
from core.models.models import Models, encode_prompt
from core.models.unet import NoisePredictor, make_predictor
from core.models.vae import encode_closely, encode_picture, fit_latent_to_rgb, preview_picture
from core.params.transfer import MaskParams, TransferParams
from core.sampling.sampler import Sampled, Start, sample
from core.sampling.trajectory import confidence_mask
from core.scene import Scene
from core.types import Canvas, EncodedRegion, Image, Latent

Preview = Callable[[], UInt8[Tensor, "rows columns 3"]]
OnStep = Callable[[int, int, Preview], None]
PREVIEW_SIDE = 128
"""Pixels, at most, along the longer side of a preview."""
Clock = Callable[[], float]
"""Seconds from any fixed point, monotonic."""


@dataclass(frozen=True, eq=False)
class TransferInputs:
    """The pictures, masks and prompts of a transfer."""

    target: Tensor
    """Its structure is kept. RGB or RGBA `[channels, height, width]`, 0 to 1 or bytes, of any size and aspect ratio."""
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
    figures, masks, references = build_scenes(models, inputs, params, phase)
    with phase("correspond"):
        started = [[correspond(figure, inputs.target, params, seed) for seed in seeds] for figure in figures]
    with phase("sample"):
        progress = Progress(inputs.target, figures, on_step)
        sampled = [
            sample(figure.scene, starts, params, progress.of(number))
            for number, (figure, starts) in enumerate(zip(figures, started, strict=True))
        ]
    with phase("finish"):
        results = []
        for which, seed in enumerate(seeds):
            ends = [
                conclude(figure, inputs.target, starts[which], of_seed[which], params)
                for figure, starts, of_seed in zip(figures, started, sampled, strict=True)
            ]
            image = stitch(inputs.target, [end for end, _ in ends], params.output)
            matches = tell_matches(figures, [maps for _, maps in ends], inputs.target)
            results.append(TransferResult(image, seed, phase.milliseconds, matches, masks, references))
    return results


def match(
    models: Models, inputs: TransferInputs, params: TransferParams, *, seed: int, clock: Clock = time.perf_counter
) -> MatchResult:
    """Which place of the reference each place of the target matches: the stages of `transfer` up to `correspond`,
    with its errors. There are no steps at which maps could be made: one-shot matching serves also for `matching.source`
    `per_layer` and `per_step`."""
    params = params.resolved()
    phase = Stopwatch(clock, models.device)
    figures, masks, references = build_scenes(models, inputs, params, phase)
    with phase("correspond"):
        maps = [match_regions(figure.scene, params.matching, seed) for figure in figures]
        matches = tell_matches(figures, maps, inputs.target)
    return MatchResult(seed, phase.milliseconds, matches, masks, references)


@dataclass(frozen=True, eq=False)
class Figure:
    """One thing that is repainted: where it is in the pictures, and its scene."""

    selected: SelectedRegion
    scene: Scene


def build_scenes(
    models: Models, inputs: TransferInputs, params: TransferParams, phase: "Stopwatch"
) -> tuple[list[Figure], Masks, tuple[Tensor, ...]]:
    """The stages `select`, `prepare` and `encode`: every figure with its scene, the masks that were used, and every
    region's reference."""
    with phase("select"):
        regions, masks = select(models, inputs, params.masks)
        figures = split_figures(inputs.target, regions) if params.matching.crop else regions
    with phase("prepare"):
        canvases = [prepare(models, inputs.target, figure, params) for figure in figures]
    with phase("encode"):
        prompts = encode_prompts(models, inputs, params, canvases[0][0])
        scenes = [
            encode(models, *pair, prompts, figure.scale * params.output.appearance_scale)
            for pair, figure in zip(canvases, figures, strict=True)
        ]
    seen = [Figure(figure, scene) for figure, scene in zip(figures, scenes, strict=True)]
    return seen, masks, tuple(region.reference for region in regions)


def select(models: Models, inputs: TransferInputs, params: MaskParams) -> tuple[list[SelectedRegion], Masks]:
    """What takes part, from uploaded masks and the selections of `params`; and the masks that this comes to, each of
    its picture's size."""
    target, reference, mode = inputs.target, inputs.reference, params.mode
    used = Masks(
        select_mask(models, target, inputs.masks.target, params.target_selection, mode=mode, role="target"),
        select_mask(models, reference, inputs.masks.reference, params.reference_selection, mode=mode, role="reference"),
    )
    regions = select_regions(models, target, reference, used, params.regions, inputs.named, mode)
    return regions, Masks(union(regions), used.reference)


def prepare(models: Models, target: Image, figure: SelectedRegion, params: TransferParams) -> tuple[Canvas, Canvas]:
    """Target and reference at one working size, on the networks' device: the figures that masks set apart, with a
    margin, or the whole pictures."""
    resolution = params.resolution or models.native_resolution
    placed = place_figure(target, figure, resolution, models.size_multiple, crop=params.matching.crop)
    here, there = (to_device(canvas, models.device) for canvas in placed)
    return here, there


def encode_prompts(models: Models, inputs: TransferInputs, params: TransferParams, canvas: Canvas) -> NoisePredictor:
    """The UNet with its prompts and guidance bound, for canvases of one size."""
    height, width = canvas.mask.shape
    conditional = encode_prompt(models, inputs.prompt, height=height, width=width)
    unconditional = None
    if params.guidance_scale != 1.0:
        unconditional = encode_prompt(models, inputs.negative_prompt, height=height, width=width, negative=True)
    return make_predictor(models.unet, conditional, unconditional, params.guidance_scale)


def encode(models: Models, target: Canvas, reference: Canvas, predict: NoisePredictor, scale: float) -> Scene:
    """Clean latents of the target and the reference of one figure."""
    dtype = models.trajectory_dtype
    latent = encode_picture(models.vae, target.picture, dtype)
    size = (latent.shape[2], latent.shape[3])
    whole = covers_all(target), covers_all(reference)
    region = EncodedRegion(
        reference,
        target.mask,
        figure=not all(whole),
        alike=not any(whole),
        reference_latent=encode_picture(models.vae, reference.picture, dtype),
        target_latent_mask=shrink_mask(target.mask.to(dtype), size),
        reference_latent_mask=shrink_mask(reference.mask.to(dtype), size),
        scale=scale,
    )
    return Scene(models, target, latent, size, (region,), predict)


@dataclass(frozen=True)
class Started(Start):
    """What one figure is sampled from, and what it is finished with."""

    proposal: Proposal | None = None
    """The warped reference at the target's own size, where it is known before."""


def correspond(figure: Figure, target: Image, params: TransferParams, seed: int) -> Started:
    """The correspondence for all steps, and the reference warped by it as a clean latent; none where correspondences
    are made while sampling."""
    if params.matching.source in ("per_layer", "per_step"):
        return Started(seed, None)
    maps = match_regions(figure.scene, params.matching, seed)
    if params.latent.warp_strength == 0.0:
        return Started(seed, maps)
    proposal = Proposal(figure.scene, target, figure.selected, maps[0], params.latent)
    return Started(seed, maps, propose_latent(figure.scene, proposal), proposal)


def propose_latent(scene: Scene, proposal: Proposal) -> Latent:
    """The proposal as a clean latent, encoded amid the target's surroundings: a latent depends on what lies around."""
    picture = proposal.on_canvas(scene.target, scene.regions[0].target_mask)
    return encode_closely(scene.models.vae, picture, scene.target_latent.dtype)


def conclude(
    figure: Figure, target: Image, start: Started, sampled: Sampled, params: TransferParams
) -> tuple[Finished, list[Correspondence]]:
    """All that `stitch` needs of one figure, and its correspondence."""
    scene, selected, mask = figure.scene, figure.selected, figure.selected.target_mask
    maps = sampled.matched or match_regions(scene, params.matching, start.seed)
    proposal, proposed = start.proposal, start.proposed
    if proposal is None and params.latent.warp_strength > 0.0:
        proposal = Proposal(scene, target, selected, maps[0], params.latent)
        proposed = propose_latent(scene, proposal)
    if proposal is None or proposed is None:
        unchanged = Proposal.of_target(scene, target, selected)
        return Finished(scene, unchanged, scene.target_latent, sampled.latent, mask), maps
    region = scene.regions[0]
    weight = region.scale * confidence_mask(maps[0], region.target_latent_mask)
    proposed = torch.lerp(scene.target_latent, proposed, weight.to(proposed.dtype))
    return Finished(scene, proposal, proposed, sampled.latent, mask), maps


def tell_matches(figures: Sequence[Figure], maps: Sequence[Sequence[Correspondence]], target: Image) -> Matches:
    """The correspondence in the terms of the pictures."""
    described = [
        Described(found[0], figure.scene.target, figure.scene.regions[0].reference, figure.selected.number)
        for figure, found in zip(figures, maps, strict=True)
    ]
    return describe(described, target.shape[1] / target.shape[2])


class Progress:
    """What the sampler calls after a step, for a caller who wants pictures of the whole target."""

    def __init__(self, target: Image, figures: Sequence[Figure], on_step: OnStep | None) -> None:
        self._figures = figures
        self._on_step = on_step
        scale = min(1.0, PREVIEW_SIDE / max(target.shape[1:]))
        size = (max(1, round(target.shape[1] * scale)), max(1, round(target.shape[2] * scale)))
        self._small = resize_image(target[:3], size).cpu()

    def of(self, number: int) -> Callable[[int, int, Tensor], None]:
        """After a step of one figure: `(done, steps, predicted_clean)`."""
        scene = self._figures[number].scene
        latents = [scene.target_latent, *(region.reference_latent for region in scene.regions)]
        pictures = [scene.target.picture, *(region.reference.picture for region in scene.regions)]
        latent_to_rgb = fit_latent_to_rgb(latents, pictures)

        def after_step(done: int, steps: int, clean: Tensor) -> None:
            if self._on_step is not None:
                before, total = number * steps, len(self._figures) * steps
                self._on_step(before + done, total, lambda: self._preview(scene, preview_picture(clean, latent_to_rgb)))

        return after_step

    def _preview(
        self, scene: Scene, figure: UInt8[Tensor, "rows columns 3"]
    ) -> UInt8[Tensor, "small_rows small_columns 3"]:
        """The target, at most PREVIEW_SIDE along its longer side, with a figure's latent shown inside its mask."""
        small = self._small
        left, top, width, height = scene.target.box
        y = top + (torch.arange(small.shape[1]) + 0.5) / small.shape[1] * height
        x = left + (torch.arange(small.shape[2]) + 0.5) / small.shape[2] * width
        shown = sample_plane(figure.permute(2, 0, 1)[None].float() / 255.0, y, x)
        within = ((y >= 0.0) & (y < 1.0))[:, None] & ((x >= 0.0) & (x < 1.0))[None]
        weight = sample_plane(scene.target.mask[None, None].cpu(), y, x) * within
        drawn = torch.lerp(small, shown, weight)
        return (drawn * 255.0).round().to(torch.uint8).permute(1, 2, 0).contiguous()


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
