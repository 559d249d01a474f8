"""Every parameter of one transfer, declared once.

`TransferParams` travels unchanged from the HTTP request to `core.pipeline`. Its groups are frozen models, each handed
whole to the stage that it is for; nothing between the two names a parameter.

Ranges over the sampling trajectory are written `(start, stop)` in *noise level* `t / 1000`: the fraction of the
training schedule, 1 at pure noise and 0 at the clean image. Sampling runs downwards, so `start >= stop`, and a
step at timestep t is inside when `start >= t / 1000 >= stop`. Fractions survive a change of the number of steps.

Source of the method: Go, Choi, Shin, Uh, "Eye-for-an-eye" (arXiv 2406.07008), called "the paper" below.
"""

from collections.abc import Mapping
from functools import reduce
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails, InitErrorDetails, PydanticCustomError

from core.params.optional_models import OptionalModel
from core.params.presets import PRESETS, Preset
from core.params.selection import REGIONS_MAX, Landmark, Part, Place, Region, Selection


def _downwards(levels: tuple[float, float]) -> tuple[float, float]:
    start, stop = levels
    if start < stop:
        raise ValueError(f"sampling runs downwards, so start ({start}) must be >= stop ({stop})")
    return levels


NoiseLevel = Annotated[float, Field(ge=0.0, le=1.0)]
NoiseRange = Annotated[tuple[NoiseLevel, NoiseLevel], AfterValidator(_downwards)]
LayerName = Annotated[
    str, Field(pattern=r"^(down_blocks\.\d+|mid_block|up_blocks\.\d+)(\.[a-z_]+\.\d+)*$", max_length=80)
]

MaskMode = Literal["given", "auto", "none"]
MatchSource = Literal["auto", "per_layer", "per_step", "unet", "vision", "fused", "custom"]
TimestepSpacing = Literal["leading", "trailing"]
InjectionMode = Literal["feature", "kv", "v", "block_output", "cross_image", "ctrl_x"]
NoiseMode = Literal["structure", "forward", "blend"]


class ParameterGroup(BaseModel):
    """Parameters of one stage. Unknown names and values out of range are refused, never ignored."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class MaskParams(ParameterGroup):
    """What takes part."""

    mode: MaskMode = "given"
    """Where masks come from. `given`: from an uploaded mask (white is inside, grey is a weight) and the picture's
    selection; a picture with neither takes part whole. `auto`: the same, but of a picture with neither the salient
    thing takes part. `none`: masks and selections are ignored. Transparent pixels never take part."""

    target_selection: Selection = Selection()
    """What of the target is repainted. The rest keeps its pixels exactly."""

    reference_selection: Selection = Selection()
    """Where in the reference appearance may come from."""

    regions: tuple[Region, ...] = Field(default=(), max_length=REGIONS_MAX)
    """Parts of the target with a reference each, in one run; of overlapping ones the later lies on top. Outside of them
    nothing changes; both selections above restrict them further. Empty: the whole target from the reference."""

    @model_validator(mode="after")
    def _check_regions(self) -> "MaskParams":
        if self.regions and self.mode == "none":
            raise ValueError("regions: mode must not be 'none', which ignores masks")
        owners: dict[str, str] = {}
        for mask, owner in (named for region in self.regions for named in region.masks):
            if owners.setdefault(mask, owner) != owner:
                raise ValueError(f"regions: mask {mask!r} is named for two pictures")
        return self


class MatchingParams(ParameterGroup):
    """How the correspondence between target and reference is found."""

    source: MatchSource = "auto"
    """Where the token correspondence comes from. `per_layer`: each injected layer matches its own input at every step
    (the paper). `per_step`: one map for all layers, made anew at every step from the inputs of `layers` at the step
    before. The others match both clean pictures once: `unet` by the UNet's features, lightly noised, as DIFT does
    (arXiv 2306.03881); `vision` by the worker's correspondence model (DINOv2 or the like); `fused` by both (arXiv
    2305.15347). `auto`: fused where the worker has such a model, else unet. `custom`: `custom_map`."""

    custom_map: tuple[tuple[Place, ...], ...] = Field(default=(), max_length=64)
    """A correspondence of your own: rows, from the top, of places (x, y) in the reference, one for every cell of a grid
    over the target; at most 64 x 64, as the map of a result is. With `source` `custom` only."""

    layers: tuple[LayerName, ...] | None = Field(default=None, min_length=1, max_length=16)
    """Self-attention layers, by name or by block, whose inputs are compared where one map serves all layers. Absent:
    those that suit the backbone."""

    noise_level: float = Field(default=0.15, ge=0.0, lt=1.0)
    """Noise level t / 1000 at which the UNet's features are extracted."""

    ensemble_size: int = Field(default=4, ge=1, le=32)
    """Number of noise draws over which the UNet's features are averaged (DIFT's ensemble size)."""

    neighbor_weight: float = Field(default=2.0, ge=0.0, le=100.0)
    """Weight of a token's neighbours in its match: 0 matches every token for itself, as the paper does."""

    global_affine_weight: float = Field(default=0.25, ge=0.0, le=10.0)
    """Weight of one affine map of the whole masked figure, found by its features; 0: every token is free."""

    crop: bool = True
    """Whether a figure that a mask sets apart is worked on alone, cropped, so that its size and place do not matter."""

    realign: bool = True
    """Whether features are extracted a second time, at twice the cost, with the masked reference moved onto the target
    by an affine map."""

    local_affine_sigma: float = Field(default=1.5, ge=0.0, le=4.0)
    """Over how many tokens of a surface matches are smoothed, to places between tokens; the paper: 0."""

    max_segments: int = Field(default=12, ge=0, le=32)
    """At most so many segments of the target keep their shape in the smoothed matches, each moved by an affine map."""

    mirrored: bool = False
    """Whether the reference is also tried flipped left to right, at twice the cost, and the better map kept."""

    filter: Literal["none", "mutual", "ratio", "both"] = "none"
    """What a match has to pass to be trusted. `mutual`: matched back from the reference, it ends where it began.
    `ratio`: it is clearly better than any place elsewhere (Lowe's test). The less a match is trusted, the less is
    rearranged."""

    fill: Literal["keep", "nearest"] = "keep"
    """Tokens whose match is not trusted keep the target's appearance, or continue the match of the nearest trusted
    one."""

    parts: tuple[Part, ...] = Field(default=(), max_length=16)
    """What parts are called, in English, such as `wing`, `head`, `tail`: two at least. The worker's CLIP tells them
    apart in both pictures, and matches between different parts are penalised by `part_weight`."""

    part_weight: float = Field(default=0.25, ge=0.0, le=4.0)
    """What a match between two surely different parts loses, as a cosine."""

    landmarks: tuple[Landmark, ...] = Field(default=(), max_length=64)
    """Places whose counterparts in the reference are known; matches around them follow. Not with `source` `per_layer`
    or `custom`."""

    landmark_radius: float = Field(default=0.15, gt=0.0, le=2.0)
    """How far a landmark reaches, as a fraction of the longer side of the picture. Farther away nothing changes."""

    @model_validator(mode="after")
    def _check_source(self) -> "MatchingParams":
        if self.source in ("per_layer", "custom"):
            for name in ("landmarks", "parts"):
                if getattr(self, name):
                    raise ValueError(f"{name}: source must not be {self.source!r}, which solves for no map")
        if bool(self.custom_map) != (self.source == "custom"):
            raise ValueError("custom_map: goes with source 'custom', and that with it")
        if len({len(row) for row in self.custom_map}) > 1 or any(not 0 < len(row) <= 64 for row in self.custom_map):
            raise ValueError("custom_map: every row needs the same number of places, 1 to 64")
        if len(self.parts) == 1 or len(set(self.parts)) < len(self.parts):
            raise ValueError("parts: at least two, each once")
        return self


class InjectionParams(ParameterGroup):
    """Feature injection (the paper, section 3): what attention layers of the output row read."""

    layers: tuple[LayerName, ...] | None = Field(default=None, max_length=64)
    """Self-attention layers in which the output takes from the reference, by name or by block. Empty: none. Absent:
    those that suit the backbone, in SDXL `up_blocks.0` and `up_blocks.1`."""

    mode: InjectionMode = "feature"
    """What the output takes there. `feature`: rearranged features before Q, K and V (the paper). `kv`, `v`: rearranged
    features for K and V, or for V alone (its ablations; the target's own query stays). `block_output`: the rearranged
    residual stream behind the transformer block. Without our correspondence: `cross_image`, the reference's K and V
    (Cross-Image Attention, arXiv 2311.03335); `ctrl_x`, mean and deviation of the reference's features by attention
    (Ctrl-X, arXiv 2406.07540)."""

    scale: float = Field(default=1.0, ge=0.0, le=1.0)
    """How far the output's own is replaced by what it takes, at every injected token: 0 not at all, 1 wholly."""

    range: NoiseRange = (0.6, 0.0)
    """Noise levels at which features are injected. The paper: 0.56 to 0."""

    structure_range: NoiseRange = (0.56, 0.3)
    """Noise levels at which now and then the structure row's features are injected instead of matched ones."""

    structure_every: int = Field(default=5, ge=0, le=200)
    """Distance in steps between two such injections; 0 switches them off. The paper: steps 11, 16, ..., 36 of 68."""

    swap_guidance_scale: float = Field(default=1.0, ge=1.0, le=10.0)
    """Appearance guidance of Cross-Image Attention: the prediction is drawn away from the one without injection,
    `eps + g (eps_injected - eps)`, with g falling evenly to its half (never below 1) over the run. 1 switches it off;
    otherwise an injected step costs one more row. Published with 3.5."""

    contrast_strength: float = Field(default=1.0, ge=1.0, le=5.0)
    """Contrast of the attention weights of `mode` `cross_image`; 1 switches it off. Published with 1.67."""


class LatentParams(ParameterGroup):
    """Rearrangement of the predicted clean latent."""

    warp_strength: float = Field(default=1.0, ge=0.0, le=1.0)
    """How far each step moves the output's predicted clean latent to the warped reference, `x0 + s (x0_ref[c] -
    x0)`."""

    warp_range: NoiseRange = (0.7, 0.2)
    """Noise levels at which the predicted clean latent is moved."""

    shading_strength: float = Field(default=1.0, ge=0.0, le=1.0)
    """How far the warped reference takes the target's light and shade; not with maps made while sampling."""

    reanchor_level: NoiseLevel = 0.25
    """Noise level at which the structure row is re-anchored on the prediction of that step: above it the target's edges
    are replayed in the target's colours, below it in the new ones; 0 is never."""

    adain_range: NoiseRange = (0.0, 0.0)
    """Noise levels at which the output latent takes mean and deviation of the reference latent, each inside its
    mask (AdaIN, arXiv 1703.06868); (0, 0) is never. The paper: t <= 181. It pulls the colours of parts off."""


class NoiseParams(ParameterGroup):
    """What noise a step adds."""

    mode: NoiseMode = "structure"
    """What is added at a step inside `range`, `s` being `noise_map_scale`. `structure`: the structure row's noise map
    times s. `forward`: fresh noise, as Ctrl-X draws it. `blend`: the map times s and fresh noise times sqrt(1 - s^2).
    Outside the range, and at s = 1, the map is replayed whole, and the target's structure with it."""

    range: NoiseRange = (1.0, 0.0)
    """Noise levels at which `mode` and `noise_map_scale` hold."""

    noise_map_scale: float = Field(default=1.0, ge=0.0, le=1.0)
    """Share of the structure row's noise map that is replayed in `range`."""


class FreeUParams(ParameterGroup):
    """FreeU (arXiv 2309.11497); all 1 is off. Its authors give 1.3, 1.4, 0.9, 0.2 for b1, b2, s1, s2 on SDXL."""

    b1: float = Field(default=1.0, gt=0.0, le=4.0)
    """Factor of half the backbone's channels in the first up block."""

    b2: float = Field(default=1.0, gt=0.0, le=4.0)
    """The same in the second up block."""

    s1: float = Field(default=1.0, gt=0.0, le=4.0)
    """Factor of the lowest frequencies of the first up block's skip connections."""

    s2: float = Field(default=1.0, gt=0.0, le=4.0)
    """The same in the second up block."""


class OutputParams(ParameterGroup):
    """How the result is set into the target."""

    appearance_scale: float = Field(default=1.0, ge=0.0, le=1.0)
    """How far the target goes towards the reference's appearance, at every level: 0 not at all, 1 all the way."""

    keep_lightness: bool = False
    """Whether the result keeps the target's lightness and takes hue and colourfulness alone."""

    feather_px: float = Field(default=1.0, ge=0.0, le=64.0)
    """Width in working pixels of the inward feather with which the result is set into the target. Outside the
    mask the target's pixels stay exactly."""


class TransferParams(ParameterGroup):
    """How one transfer is computed. Unknown names and values out of range are refused, never ignored."""

    preset: Preset | None = None
    """Values for several parameters at once; those given beside it win. `balanced`: the defaults. `fast`: half the
    steps. `few-steps`: for Turbo, Lightning, LCM. `paper`, `paper-sd15`: as published, on SDXL and on Stable Diffusion
    1.5."""

    num_inference_steps: int = Field(default=20, ge=2, le=200)
    """Number of steps into which the whole schedule is cut (DDIM's S). `strength` decides how many are sampled."""

    timestep_spacing: TimestepSpacing = "leading"
    """Which timesteps they are (Lin et al., arXiv 2305.08891, table 2). `leading`: the lower end of each part of the
    schedule, as the paper's code samples. `trailing`: the upper end, which distilled networks were trained for."""

    strength: float = Field(default=0.7, gt=0.0, le=1.0)
    """Noise level at which sampling starts, as in image-to-image: 1 starts at pure noise, the paper at 0.68."""

    guidance_scale: float = Field(default=1.0, ge=1.0, le=20.0)
    """Classifier-free guidance (Ho and Salimans, arXiv 2207.12598), `eps_u + s (eps_c - eps_u)`. 1: off, cheaper."""

    eta: float = Field(default=1.0, gt=0.0, le=1.0)
    """DDIM's eta (arXiv 2010.02502, eq. 16): 1 is DDPM, the setting of edit-friendly inversion."""

    resolution: int | None = Field(default=None, ge=64, le=2048)
    """Side in pixels of the square whose area the working picture has. Absent: the checkpoint's own."""

    masks: MaskParams = MaskParams()
    matching: MatchingParams = MatchingParams()
    injection: InjectionParams = InjectionParams()
    latent: LatentParams = LatentParams()
    noise: NoiseParams = NoiseParams()
    freeu: FreeUParams | None = None
    """FreeU while sampling, not while matching; absent: off."""
    output: OutputParams = OutputParams()

    def resolved(self) -> "TransferParams":
        """The same with the values of its preset wherever none was given; checked as if they had been given.

        Whoever dumps parameters whole resolves them before: read back, every value counts as given. Raises pydantic's
        ValidationError where a value given beside the preset does not go with it.
        """
        given = self.model_dump(exclude_unset=True)
        merged = given if self.preset is None else overlay(PRESETS[self.preset], given)
        return self if merged == given else type(self).model_validate(merged)

    @property
    def needed_models(self) -> frozenset[OptionalModel]:
        """Models beside the checkpoint without which this cannot be computed."""
        needed: set[OptionalModel] = {"correspondence"} if self.matching.source in ("vision", "fused") else set()
        if self.matching.parts:
            needed.add("part_finder")
        if self.masks.mode == "none":
            return frozenset(needed)
        regions = self.masks.regions
        of_regions = [of for region in regions for of in (region.target_selection, region.reference_selection)]
        selections = (self.masks.target_selection, self.masks.reference_selection, *of_regions)
        if any(selection.pointed for selection in selections):
            needed.add("segmenter")
        if any(selection.text for selection in selections):
            needed.add("text_segmenter")
        return frozenset(needed)

    @property
    def named_pictures(self) -> frozenset[str]:
        """Names of the pictures that come with the job beside target and reference."""
        return frozenset(region.reference for region in self.masks.regions if region.reference is not None)

    @property
    def named_masks(self) -> dict[str, str]:
        """Names of the masks that come with the job, and the picture that each belongs to: `target`, `reference`, or
        one of `named_pictures`."""
        return {mask: owner for region in self.masks.regions for mask, owner in region.masks}

    @model_validator(mode="after")
    def _check_preset(self) -> "TransferParams":
        try:
            self.resolved()
        except ValidationError as error:
            lines = [_of_preset(self.preset, line) for line in error.errors()]
            raise ValidationError.from_exception_data(error.title, lines) from None
        return self


def _of_preset(preset: Preset | None, line: ErrorDetails) -> InitErrorDetails:
    """One error of a preset's values, at the same place, with the preset named."""
    reason = line["msg"].removeprefix("Value error, ")
    message = PydanticCustomError(
        "preset_mismatch", "with preset '{preset}': {reason}", {"preset": preset, "reason": reason}
    )
    return InitErrorDetails(type=message, loc=line["loc"], input=line["input"])


def overlay(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Nested values of `base` with those of `over` in their place, group by group."""
    merged = dict(base)
    for name, value in over.items():
        below = merged.get(name)
        nests = isinstance(value, Mapping) and isinstance(below, Mapping)
        merged[name] = overlay(merged[name], value) if nests else value
    return merged


def nested(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values by dotted names, such as `matching.ensemble_size`, as the nested form that TransferParams validates."""
    spelled = (
        reduce(lambda inner, name: {name: inner}, reversed(path.split(".")), value) for path, value in values.items()
    )
    return reduce(overlay, spelled, {})


def dotted(values: Mapping[str, Any]) -> dict[str, Any]:
    """The inverse of `nested`, for values such as `model_dump` gives."""
    named: dict[str, Any] = {}
    for name, value in values.items():
        grouped = isinstance(value, Mapping)
        named |= {f"{name}.{inner}": setting for inner, setting in value.items()} if grouped else {name: value}
    return named


def with_values(params: TransferParams, values: Mapping[str, Any]) -> TransferParams:
    """`params` with others by dotted names, checked. Raises pydantic's ValidationError."""
    return TransferParams.model_validate(overlay(params.model_dump(exclude_unset=True), nested(values)))


WARM_UP = TransferParams(num_inference_steps=2, strength=1.0)
"""What a fresh worker runs before it reports ready: two steps from pure noise."""
