"""Every knob of one transfer, declared once.

`TransferParams` travels unchanged from the HTTP request to `core.pipeline`, which is the only place that takes
knobs out of it. Nothing between the two names a knob.

Ranges over the sampling trajectory are written `(start, stop)` in *noise level* `t / 1000`: the fraction of the
training schedule, 1 at pure noise and 0 at the clean image. Sampling runs downwards, so `start >= stop`, and a
step at timestep t is inside when `start >= t / 1000 >= stop`. Fractions survive a change of the number of steps.

Source of the method: Go, Choi, Shin, Uh, "Eye-for-an-eye" (arXiv 2406.07008), called "the paper" below.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from core.optional import OptionalModel
from core.selection import Pin, Selection

NoiseLevel = Annotated[float, Field(ge=0.0, le=1.0)]
NoiseRange = tuple[NoiseLevel, NoiseLevel]
LayerName = Annotated[
    str, Field(pattern=r"^(down_blocks\.\d+|mid_block|up_blocks\.\d+)(\.[a-z_]+\.\d+)*$", max_length=80)
]

InjectionMode = Literal["feature", "kv", "v", "block_output", "cross_image", "soft_statistics"]


class TransferParams(BaseModel):
    """How one transfer is computed. Unknown names and values out of range are refused, never ignored."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    # --- schedule -----------------------------------------------------------------------------------------------
    num_steps: int = Field(default=20, ge=2, le=200)
    """Number of steps into which the whole schedule is cut (DDIM's S). `strength` decides how many are sampled."""

    strength: float = Field(default=0.7, gt=0.0, le=1.0)
    """Noise level at which sampling starts, as in image-to-image: 1 starts at pure noise. The paper skips 32 of
    100 steps, which is 0.68."""

    guidance_scale: float = Field(default=1.0, ge=1.0, le=20.0)
    """Classifier-free guidance (Ho and Salimans, arXiv 2207.12598), `eps_u + s (eps_c - eps_u)`; 1 switches it off
    and halves the cost of a step."""

    eta: float = Field(default=1.0, gt=0.0, le=1.0)
    """DDIM's eta (arXiv 2010.02502, eq. 16): 1 is DDPM, the setting of edit-friendly inversion."""

    resolution: int | None = Field(default=None, ge=64, le=2048)
    """Side in pixels of the square whose area the working picture has. Absent: the checkpoint's own."""

    # --- what takes part ----------------------------------------------------------------------------------------
    mask_mode: Literal["given", "none"] = "given"
    """Where masks come from. `given`: from all that is said of a picture, an uploaded mask (white is inside, grey is a
    weight) and its selection below; a picture of which nothing is said takes part whole. `none`: nothing of that is
    looked at. Transparent pixels never take part."""

    target_selection: Selection = Selection()
    """What of the target is repainted. The rest keeps its pixels exactly."""

    reference_selection: Selection = Selection()
    """Where in the reference appearance may come from."""

    # --- correspondence -----------------------------------------------------------------------------------------
    match_source: Literal["auto", "layer", "one_shot", "vision", "fused"] = "auto"
    """Where the token correspondence comes from. `layer`: each injected layer matches its own input at every step
    (the paper). The others look once at both clean pictures: `one_shot` by the UNet's features, lightly noised, as DIFT
    does (arXiv 2306.03881); `vision` by the worker's correspondence model (DINOv2 or the like); `fused` by both (arXiv
    2305.15347). `auto`: fused where the worker holds such a model, else one_shot."""

    match_layers: tuple[LayerName, ...] = Field(default=("up_blocks.1",), min_length=1, max_length=16)
    """Self-attention layers, by name or by block, whose inputs the UNet's one look compares."""

    match_noise_level: float = Field(default=0.15, ge=0.0, lt=1.0)
    """Noise level t / 1000 at which the one-shot features are read."""

    match_draws: int = Field(default=4, ge=1, le=32)
    """Number of noise draws over which the one-shot features are averaged (DIFT's ensemble size)."""

    match_smoothness: float = Field(default=6.0, ge=0.0, le=100.0)
    """Say of a token's neighbours in its match: 0 matches every token for itself, as the paper does."""

    match_rigidity: float = Field(default=1.0, ge=0.0, le=10.0)
    """Say of one affine map, found by features for the whole masked figure (moved, turned, mirrored, stretched), in
    the one look's matches: 0 lets every token go its own way, as the paper does. Nothing without a mask."""

    match_mirrored: bool = False
    """Whether the one look also tries the reference flipped left to right and keeps the better map. Doubles the
    cost of matching; no gain was measured on the mini checkpoint."""

    pins: tuple[Pin, ...] = Field(default=(), max_length=64)
    """Places of the target whose counterparts in the reference are known. Matches around them follow; `match_source`
    `layer` knows no pins."""

    pin_radius: float = Field(default=0.15, gt=0.0, le=2.0)
    """How far a pin reaches, as a fraction of the longer side of the picture. Farther away nothing changes."""

    # --- feature injection (the paper, section 3) ---------------------------------------------------------------
    injection_layers: tuple[LayerName, ...] = Field(default=("up_blocks.0", "up_blocks.1"), max_length=64)
    """Self-attention layers in which the output takes from the reference, by name or by block. Empty: none."""

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
    """Contrast operation of Cross-Image Attention on the attention weights when `injection_mode` is `cross_image`; 1
    switches it off. Published with 1.67."""

    injection_range: NoiseRange = (0.6, 0.0)
    """Noise levels at which features are injected. The paper: 0.56 to 0."""

    reinjection_range: NoiseRange = (0.56, 0.3)
    """Noise levels at which, every `reinjection_every` steps, the structure row's features are injected instead
    of matched ones. The paper: steps 11, 16, ..., 36 of 68."""

    reinjection_every: int = Field(default=5, ge=0, le=200)
    """Distance in steps between two structure re-injections; 0 switches them off."""

    # --- rearrangement of the predicted clean latent ------------------------------------------------------------
    clean_latent_strength: float = Field(default=0.6, ge=0.0, le=1.0)
    """How far each step moves the predicted clean latent of the output towards the rearranged clean latent of the
    reference, `x0 + s (x0_ref[c] - x0)`; 0 switches it off."""

    clean_latent_range: NoiseRange = (0.7, 0.2)
    """Noise levels at which the predicted clean latent is rearranged."""

    reanchor_level: NoiseLevel = 0.25
    """Noise level at which the structure row is re-anchored on the prediction of that step: above it the target's edges
    are replayed in the target's colours, below it in the new ones; 0 is never."""

    # --- noise --------------------------------------------------------------------------------------------------
    noise_mode: Literal["structure", "forward", "blend"] = "structure"
    """What is added at a step inside `noise_range`, where `s` is `structure_strength`. `structure`: the structure row's
    noise map times s; at s = 0 the step is deterministic. `forward`: fresh noise, as Ctrl-X draws it. `blend`: the map
    times s and fresh noise times sqrt(1 - s^2). The level of noise is the same in all. Outside the range, and at s = 1,
    the map is replayed whole, and the target's own structure with it."""

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

    # --- statistics and composition -----------------------------------------------------------------------------
    adain_range: NoiseRange = (0.0, 0.0)
    """Noise levels at which the output latent takes mean and deviation of the reference latent, each inside its
    mask (AdaIN, arXiv 1703.06868); (0, 0) is never. The paper: t <= 181. Off by default: where parts cover other shares
    of the two pictures, the shared moments pull every part's colour off."""

    feather_px: float = Field(default=1.0, ge=0.0, le=64.0)
    """Width in working pixels of the inward feather with which the result is set into the target. Outside the
    mask the target's pixels stay exactly."""

    @property
    def needed_models(self) -> frozenset[OptionalModel]:
        """Models beside SDXL without which this cannot be computed."""
        needed: set[OptionalModel] = {"correspondence"} if self.match_source in ("vision", "fused") else set()
        if self.mask_mode == "none":
            return frozenset(needed)
        selections = (self.target_selection, self.reference_selection)
        if any(selection.pointed for selection in selections):
            needed.add("segmenter")
        if any(selection.text for selection in selections):
            needed.add("text_segmenter")
        return frozenset(needed)

    @model_validator(mode="after")
    def _pins_need_one_map(self) -> "TransferParams":
        if self.pins and self.match_source == "layer":
            raise ValueError("pins: match_source must not be 'layer', which matches anew in every layer")
        return self

    @model_validator(mode="after")
    def _ranges_run_downwards(self) -> "TransferParams":
        for name in ("injection_range", "reinjection_range", "clean_latent_range", "noise_range", "adain_range"):
            start, stop = getattr(self, name)
            if start < stop:
                raise ValueError(
                    f"{name}: sampling runs from noise to image, so start ({start}) must be >= stop ({stop})"
                )
        return self
