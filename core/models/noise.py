"""The noise schedule and the arithmetic of one step, in DDIM's notation.

DDIM: Song, Meng, Ermon (arXiv 2010.02502). Edit-friendly noise: Huberman-Spiegelglas, Kulikov, Michaeli
(arXiv 2304.06140). `alpha_bar` below is their cumulative product (DDIM writes it alpha).
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from core.params.transfer import NoiseMode, NoiseRange, TimestepSpacing

STEPS_OFFSET = 1


@dataclass(frozen=True)
class Step:
    """One sampled step: from `timestep` at `alpha_bar` down to `alpha_bar_prev` (1 at the last step)."""

    timestep: int
    noise_level: float
    alpha_bar: float
    alpha_bar_prev: float

    def inside(self, noise_range: NoiseRange) -> bool:
        start, stop = noise_range
        return start >= self.noise_level >= stop


def make_steps(
    alphas_cumprod: Float[Tensor, " timesteps"],
    *,
    num_inference_steps: int,
    strength: float,
    spacing: TimestepSpacing = "leading",
) -> list[Step]:
    """The steps that are sampled, noisiest first.

    "Leading" spacing with offset 1, as SDXL's scheduler has it and as the paper's code samples: 100 steps at
    strength 0.68 start at t = 671. "Trailing" spacing (Lin et al., arXiv 2305.08891, table 2) takes the upper ends,
    999, 749, 499, 249 for four: distilled networks know only those. At least one step is sampled.
    """
    total = len(alphas_cumprod)
    sampled = max(1, min(num_inference_steps, round(strength * num_inference_steps)))
    if spacing == "trailing":
        timesteps = [round((i + 1) * total / num_inference_steps) - 1 for i in reversed(range(sampled))]
    else:
        timesteps = [
            min(i * (total // num_inference_steps) + STEPS_OFFSET, total - 1) for i in reversed(range(sampled))
        ]
    alpha_bars = [float(alphas_cumprod[t]) for t in timesteps] + [1.0]
    return [Step(t, t / total, alpha_bars[i], alpha_bars[i + 1]) for i, t in enumerate(timesteps)]


def add_noise(
    clean: Float[Tensor, "rows channels height width"],
    noise: Float[Tensor, "rows channels height width"],
    alpha_bar: float,
) -> Float[Tensor, "rows channels height width"]:
    """`x_t = sqrt(a) x_0 + sqrt(1 - a) e` with a fresh `e` for every t (arXiv 2304.06140, eq. 6)."""
    signal: float = alpha_bar**0.5
    sigma: float = (1.0 - alpha_bar) ** 0.5
    return signal * clean + sigma * noise


def predict_clean(
    noisy: Float[Tensor, "rows channels height width"],
    model_output: Float[Tensor, "rows channels height width"],
    alpha_bar: float,
    prediction_type: str,
) -> tuple[Float[Tensor, "rows channels height width"], Float[Tensor, "rows channels height width"]]:
    """Predicted `(x_0, eps)` from the output of the UNet (DDIM eq. 9; Salimans and Ho, arXiv 2202.00512, for v)."""
    signal: float = alpha_bar**0.5
    sigma: float = (1.0 - alpha_bar) ** 0.5
    if prediction_type == "epsilon":
        return (noisy - sigma * model_output) / signal, model_output
    if prediction_type == "v_prediction":
        return signal * noisy - sigma * model_output, signal * model_output + sigma * noisy
    if prediction_type == "sample":
        return model_output, (noisy - signal * model_output) / sigma
    raise ValueError(f"prediction_type {prediction_type!r} is not epsilon, v_prediction or sample")


def step_sigma(step: Step, eta: float) -> float:
    """Standard deviation of the noise of one step (DDIM eq. 16)."""
    a, a_prev = step.alpha_bar, step.alpha_bar_prev
    return float(eta * ((1.0 - a_prev) / (1.0 - a)) ** 0.5 * (1.0 - a / a_prev) ** 0.5)


def step_mean(
    clean: Float[Tensor, "rows channels height width"],
    noise: Float[Tensor, "rows channels height width"],
    step: Step,
    eta: float,
) -> Float[Tensor, "rows channels height width"]:
    """`mu(x_t)`, the mean of x_{t-1} (DDIM eq. 12 without its noise term)."""
    sigma = step_sigma(step, eta)
    signal: float = step.alpha_bar_prev**0.5
    direction: float = max(1.0 - step.alpha_bar_prev - sigma**2, 0.0) ** 0.5
    return signal * clean + direction * noise


@dataclass(frozen=True)
class NoiseMix:
    """What the output row's step adds to its mean, in shares of its standard deviation; squares add up to 1 at most.
    What they leave is not drawn at all: the step is so far deterministic."""

    replayed: float = 1.0
    """Share of the structure row's noise map."""
    fresh: float = 0.0
    """Share of noise of its own."""

    @property
    def share(self) -> float:
        """Standard deviation of both together; exactly 1 where nothing is left out."""
        return 1.0 if self.fresh or self.replayed == 1.0 else self.replayed


REPLAYED = NoiseMix()
"""The structure row's map whole, and nothing else."""


def mix_noise(mode: NoiseMode, scale: float) -> NoiseMix:
    """The shares that a mode of noise means, `scale` being that of the structure row's map."""
    if mode == "structure":
        return NoiseMix(replayed=scale)
    if mode == "forward":
        return NoiseMix(replayed=0.0, fresh=1.0)
    return NoiseMix(replayed=scale, fresh=(1.0 - scale**2) ** 0.5)


class NoiseDraws:
    """Independent Gaussian draws of one row, on the CPU from its own seed, so that a seed means the same on every
    device and for every batch size."""

    def __init__(self, seed: int, row: int) -> None:
        self._generator = torch.Generator().manual_seed((seed * 8 + row) % 2**63)

    def like(self, latent: Tensor) -> Tensor:
        """The next draw, in the shape, dtype and place of `latent`."""
        noise = torch.randn(latent.shape, generator=self._generator, dtype=torch.float64)
        return noise.to(device=latent.device, dtype=latent.dtype)
