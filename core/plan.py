"""What is done at every step: the knobs that are ranges and rhythms, on the steps that are sampled."""

from collections.abc import Sequence

from core.denoise import PlannedStep
from core.guidance import falling_guidance
from core.params import TransferParams
from core.rearrange import Injection
from core.schedule import REPLAYED, Step, mix_noise


def plan_steps(steps: Sequence[Step], params: TransferParams, *, inject: bool) -> list[PlannedStep]:
    """What is done at every step. Structure re-injection falls on the first injected step and every n-th after it."""
    plan: list[PlannedStep] = []
    injected = matched = 0
    anchored = params.reanchor_level == 0.0
    for done, step in enumerate(steps):
        injection, guidance, rematch = Injection.NONE, 1.0, False
        if inject and step.inside(params.injection_range):
            every = params.reinjection_every
            again = every > 0 and injected % every == 0 and step.inside(params.reinjection_range)
            injection = Injection.STRUCTURE if again else Injection.MATCHED
            guidance = falling_guidance(params.injection_guidance, done, len(steps))
            injected += 1
            if not again:
                rematch = matched % params.match_every == 0
                matched += 1
        strength = params.clean_latent_strength if step.inside(params.clean_latent_range) else 0.0
        reanchor = not anchored and step.inside((params.reanchor_level, 0.0))
        anchored = anchored or reanchor
        mixed = step.inside(params.noise_range)
        plan.append(
            PlannedStep(
                step,
                injection,
                strength,
                step.inside(params.adain_range),
                reanchor=reanchor,
                injection_guidance=guidance,
                noise_mix=mix_noise(params.noise_mode, params.structure_strength) if mixed else REPLAYED,
                rematch=rematch,
            )
        )
    return plan
