"""Every knob of one transfer, declared once.

`TransferParams` travels unchanged from the HTTP request to `core.pipeline`. Only its verbs, there and in `matching`,
`sampling` and `plan`, take knobs out of it. Nothing between the two names a knob.

Ranges over the sampling trajectory are written `(start, stop)` in *noise level* `t / 1000`: the fraction of the
training schedule, 1 at pure noise and 0 at the clean image. Sampling runs downwards, so `start >= stop`, and a
step at timestep t is inside when `start >= t / 1000 >= stop`. Fractions survive a change of the number of steps.

Source of the method: Go, Choi, Shin, Uh, "Eye-for-an-eye" (arXiv 2406.07008), called "the paper" below.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from core.params.optional_models import OptionalModel
from core.params.presets import PRESETS, Preset
from core.params.selection import REGIONS_MAX, Part, Pin, Place, Region, Selection

NoiseLevel = Annotated[float, Field(ge=0.0, le=1.0)]
NoiseRange = tuple[NoiseLevel, NoiseLevel]
LayerName = Annotated[
    str, Field(pattern=r"^(down_blocks\.\d+|mid_block|up_blocks\.\d+)(\.[a-z_]+\.\d+)*$", max_length=80)
]
MatchSource = Literal["auto", "layer", "step", "one_shot", "vision", "fused", "given"]
StepSpacing = Literal["leading", "trailing"]
InjectionMode = Literal["feature", "kv", "v", "block_output", "cross_image", "soft_statistics"]


class TransferParams(BaseModel):
    """How one transfer is computed. Unknown names and values out of range are refused, never ignored."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    preset: Preset | None = None
    """Values for several knobs at once; those given beside it win. `balanced`: the defaults. `fast`: half the steps.
    `few-steps`: for Turbo, Lightning, LCM. `paper`, `paper-sd15`: as published, on SDXL and on Stable Diffusion 1.5."""

    # --- schedule -----------------------------------------------------------------------------------------------
    num_steps: int = Field(default=20, ge=2, le=200)
    """Number of steps into which the whole schedule is cut (DDIM's S). `strength` decides how many are sampled."""

    step_spacing: StepSpacing = "leading"
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

    # --- what takes part ----------------------------------------------------------------------------------------
    mask_mode: Literal["given", "auto", "none"] = "given"
    """Where masks come from. `given`: from all that is said of a picture, an uploaded mask (white is inside, grey is a
    weight) and its selection below; a picture of which nothing is said takes part whole. `auto`: the same, but of a
    picture of which nothing is said the thing that stands out from its border takes part. `none`: nothing of that is
    looked at. Transparent pixels never take part."""

    target_selection: Selection = Selection()
    """What of the target is repainted. The rest keeps its pixels exactly."""

    reference_selection: Selection = Selection()
    """Where in the reference appearance may come from."""

    regions: tuple[Region, ...] = Field(default=(), max_length=REGIONS_MAX)
    """Parts of the target with a reference each, in one run; of overlapping ones the later lies on top. Outside of them
    nothing changes; both selections above restrict them further. Empty: the whole target from the reference."""

    # --- correspondence -----------------------------------------------------------------------------------------
    match_source: MatchSource = "auto"
    """Where the token correspondence comes from. `layer`: each injected layer matches its own input at every step
    (the paper). `step`: one map for all layers, made anew at every step from what the network saw in `match_layers` at
    the step before. The others look once at both clean pictures: `one_shot` by the UNet's features, lightly noised, as
    DIFT does (arXiv 2306.03881); `vision` by the worker's correspondence model (DINOv2 or the like); `fused` by both
    (arXiv 2305.15347). `auto`: fused where the worker holds such a model, else one_shot. `given`: `match_map`."""

    match_map: tuple[tuple[Place, ...], ...] = Field(default=(), max_length=64)
    """A correspondence of your own: rows, from the top, of places (x, y) in the reference, one for every cell of a grid
    over the target; at most 64 x 64, as the map of a result is. With `match_source` `given` only."""

    match_layers: tuple[LayerName, ...] | None = Field(default=None, min_length=1, max_length=16)
    """Self-attention layers, by name or by block, whose inputs are compared where one map serves all layers. Absent:
    those that suit the backbone."""

    match_noise_level: float = Field(default=0.15, ge=0.0, lt=1.0)
    """Noise level t / 1000 at which the one-shot features are read."""

    match_draws: int = Field(default=4, ge=1, le=32)
    """Number of noise draws over which the one-shot features are averaged (DIFT's ensemble size)."""

    match_smoothness: float = Field(default=2.0, ge=0.0, le=100.0)
    """Say of a token's neighbours in its match: 0 matches every token for itself, as the paper does."""

    match_rigidity: float = Field(default=0.25, ge=0.0, le=10.0)
    """Say of one affine map of the whole masked figure, found by its features; 0: every token goes its own way."""

    match_framing: bool = True
    """Whether masked figures are seen to fill a square window, so that their sizes and places do not matter."""

    match_looks: int = Field(default=2, ge=1, le=2)
    """2: a second look, at twice the cost, sees the masked reference moved onto the target by an affine map."""

    match_refinement: float = Field(default=1.5, ge=0.0, le=4.0)
    """Over how many tokens of a surface matches are smoothed, to places between tokens; the paper: 0."""

    match_pieces: int = Field(default=12, ge=0, le=32)
    """At most so many pieces of the target keep their shape in the refined matches, each moved by an affine map."""

    match_mirrored: bool = False
    """Whether the reference is also tried flipped left to right, at twice the cost, and the better map kept."""

    match_every: int = Field(default=1, ge=1, le=200)
    """With `match_source` `layer` or `step`: matches are made anew at every n-th injected step only."""

    match_top_k: int = Field(default=1, ge=1, le=16)
    """How many of a token's best matches are blended in injected features; the clean latent takes the best alone."""

    match_confidence: Literal["none", "mutual", "ratio", "both"] = "none"
    """What a match has to pass to be believed. `mutual`: matched back from the reference, it leads home. `ratio`: it is
    clearly better than any place elsewhere (Lowe's test). As far as a match is doubted, less is rearranged."""

    unmatched: Literal["keep", "nearest"] = "keep"
    """Doubted tokens keep the target's appearance, or continue the match of the nearest one that is believed."""

    part_names: tuple[Part, ...] = Field(default=(), max_length=16)
    """What parts are called, in English, such as `wing`, `head`, `tail`: two at least. The worker's CLIP tells them
    apart in both pictures, and matches between different parts are held against it by `part_weight`."""

    part_weight: float = Field(default=0.25, ge=0.0, le=4.0)
    """What a match between two surely different parts loses, as a cosine."""

    pins: tuple[Pin, ...] = Field(default=(), max_length=64)
    """Places whose counterparts in the reference are known; matches around them follow. Not with source `layer`."""

    pin_radius: float = Field(default=0.15, gt=0.0, le=2.0)
    """How far a pin reaches, as a fraction of the longer side of the picture. Farther away nothing changes."""

    # --- feature injection (the paper, section 3) ---------------------------------------------------------------
    injection_layers: tuple[LayerName, ...] | None = Field(default=None, max_length=64)
    """Self-attention layers in which the output takes from the reference, by name or by block. Empty: none. Absent:
    those that suit the backbone, in SDXL `up_blocks.0` and `up_blocks.1`."""

    injection_mode: InjectionMode = "feature"
    """What the output takes there. `feature`: rearranged features before Q, K and V (the paper). `kv`, `v`: rearranged
    features for K and V, or for V alone (its ablations; the target's own query stays). `block_output`: the rearranged
    residual stream behind the transformer block. Without our correspondence: `cross_image`, the reference's K and V
    (Cross-Image Attention, arXiv 2311.03335); `soft_statistics`, mean and deviation of the reference's features by
    attention (Ctrl-X, arXiv 2406.07540)."""

    injection_strength: float = Field(default=1.0, ge=0.0, le=1.0)
    """How far the output's own is replaced by what it takes, at every injected token: 0 not at all, 1 wholly."""

    injection_guidance: float = Field(default=1.0, ge=1.0, le=10.0)
    """Appearance guidance of Cross-Image Attention: the prediction is drawn away from the one without injection,
    `eps + g (eps_injected - eps)`, with g falling evenly to its half (never below 1) over the run. 1 switches it off;
    otherwise an injected step costs one more row. Published with 3.5."""

    attention_contrast: float = Field(default=1.0, ge=1.0, le=5.0)
    """Contrast of the attention weights of `injection_mode` `cross_image`; 1 switches it off. Published with 1.67."""

    injection_range: NoiseRange = (0.6, 0.0)
    """Noise levels at which features are injected. The paper: 0.56 to 0."""

    reinjection_range: NoiseRange = (0.56, 0.3)
    """Noise levels at which now and then the structure row's features are injected instead of matched ones."""

    reinjection_every: int = Field(default=5, ge=0, le=200)
    """Distance in steps between two such injections; 0 switches them off. The paper: steps 11, 16, ..., 36 of 68."""

    # --- rearrangement of the predicted clean latent ------------------------------------------------------------
    clean_latent_strength: float = Field(default=1.0, ge=0.0, le=1.0)
    """How far each step moves the output's predicted clean latent to the rearranged one, `x0 + s (x0_ref[c] - x0)`."""

    clean_latent_range: NoiseRange = (0.7, 0.2)
    """Noise levels at which the predicted clean latent is rearranged."""

    shading_strength: float = Field(default=1.0, ge=0.0, le=1.0)
    """How far the moved reference takes the target's light and shade; not with maps made while sampling."""

    reanchor_level: NoiseLevel = 0.25
    """Noise level at which the structure row is re-anchored on the prediction of that step: above it the target's edges
    are replayed in the target's colours, below it in the new ones; 0 is never."""

    # --- noise --------------------------------------------------------------------------------------------------
    noise_mode: Literal["structure", "forward", "blend"] = "structure"
    """What is added at a step inside `noise_range`, `s` being `structure_strength`. `structure`: the structure row's
    noise map times s. `forward`: fresh noise, as Ctrl-X draws it. `blend`: the map times s and fresh noise times
    sqrt(1 - s^2). Outside the range, and at s = 1, the map is replayed whole, and the target's structure with it."""

    noise_range: NoiseRange = (1.0, 0.0)
    """Noise levels at which `noise_mode` and `structure_strength` hold."""

    structure_strength: float = Field(default=1.0, ge=0.0, le=1.0)
    """Share of the structure row's noise map that is replayed in `noise_range`."""

    # --- FreeU --------------------------------------------------------------------------------------------------
    freeu_b1: float = Field(default=1.0, gt=0.0, le=4.0)
    """FreeU (arXiv 2309.11497): factor of half the backbone's channels in the first up block; 1 is off. Its authors
    give 1.3, 1.4, 0.9, 0.2 for b1, b2, s1, s2 on SDXL. Acts on sampling, not on matching."""

    freeu_b2: float = Field(default=1.0, gt=0.0, le=4.0)
    """The same in the second up block."""

    freeu_s1: float = Field(default=1.0, gt=0.0, le=4.0)
    """FreeU: factor of the lowest frequencies of the first up block's skip connections; 1 is off."""

    freeu_s2: float = Field(default=1.0, gt=0.0, le=4.0)
    """The same in the second up block."""

    # --- the result ---------------------------------------------------------------------------------------------
    appearance_strength: float = Field(default=1.0, ge=0.0, le=1.0)
    """How far the target goes towards the reference's appearance, at every level: 0 not at all, 1 all the way."""

    colour_only: bool = False
    """Whether the result keeps the target's lightness and takes hue and colourfulness alone."""

    # --- statistics and composition -----------------------------------------------------------------------------
    adain_range: NoiseRange = (0.0, 0.0)
    """Noise levels at which the output latent takes mean and deviation of the reference latent, each inside its
    mask (AdaIN, arXiv 1703.06868); (0, 0) is never. The paper: t <= 181. It pulls the colours of parts off."""

    feather_px: float = Field(default=1.0, ge=0.0, le=64.0)
    """Width in working pixels of the inward feather with which the result is set into the target. Outside the
    mask the target's pixels stay exactly."""

    @property
    def needed_models(self) -> frozenset[OptionalModel]:
        """Models beside the checkpoint without which this cannot be computed."""
        needed: set[OptionalModel] = {"correspondence"} if self.match_source in ("vision", "fused") else set()
        if self.part_names:
            needed.add("part_finder")
        if self.mask_mode == "none":
            return frozenset(needed)
        of_regions = [of for region in self.regions for of in (region.target_selection, region.reference_selection)]
        selections = (self.target_selection, self.reference_selection, *of_regions)
        if any(selection.pointed for selection in selections):
            needed.add("segmenter")
        if any(selection.text for selection in selections):
            needed.add("text_segmenter")
        return frozenset(needed)

    @property
    def named_pictures(self) -> frozenset[str]:
        """Names of the pictures that come with the job beside target and reference."""
        return frozenset(region.reference for region in self.regions if region.reference is not None)

    @property
    def named_masks(self) -> dict[str, str]:
        """Names of the masks that come with the job, and the picture that each belongs to: `target`, `reference`, or
        one of `named_pictures`."""
        return {mask: owner for region in self.regions for mask, owner in region.masks}

    @model_validator(mode="after")
    def _fill_in_preset(self) -> "TransferParams":
        # Afterwards, because strict JSON is only strict while nothing has touched it.
        if self.preset is not None:
            given = self.model_fields_set
            self.__dict__.update({name: value for name, value in PRESETS[self.preset].items() if name not in given})
        return self

    @model_validator(mode="after")
    def _one_look_is_there_for_what_needs_it(self) -> "TransferParams":
        if self.match_source in ("layer", "given"):
            for name in ("pins", "part_names"):
                if getattr(self, name):
                    raise ValueError(f"{name}: match_source must not be {self.match_source!r}, which has no one look")
        if bool(self.match_map) != (self.match_source == "given"):
            raise ValueError("match_map: goes with match_source 'given', and that with it")
        if len({len(row) for row in self.match_map}) > 1 or any(not 0 < len(row) <= 64 for row in self.match_map):
            raise ValueError("match_map: every row needs the same number of places, 1 to 64")
        if len(self.part_names) == 1 or len(set(self.part_names)) < len(self.part_names):
            raise ValueError("part_names: at least two, each once")
        return self

    @model_validator(mode="after")
    def _regions_can_be_told_apart(self) -> "TransferParams":
        if self.regions and self.mask_mode == "none":
            raise ValueError("regions: mask_mode must not be 'none', which looks at no masks")
        owners: dict[str, str] = {}
        for mask, owner in (named for region in self.regions for named in region.masks):
            if owners.setdefault(mask, owner) != owner:
                raise ValueError(f"regions: mask {mask!r} is named for two pictures")
        return self

    @model_validator(mode="after")
    def _ranges_run_downwards(self) -> "TransferParams":
        for name in ("injection_range", "reinjection_range", "clean_latent_range", "noise_range", "adain_range"):
            start, stop = getattr(self, name)
            if start < stop:
                raise ValueError(f"{name}: sampling runs downwards, so start ({start}) must be >= stop ({stop})")
        return self
