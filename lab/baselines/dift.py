"""Matches by block outputs, as DIFT publishes them (Tang et al., arXiv 2306.03881): the field's plain way to compare.

Cosine argmax over the output of one up block at one noise level, averaged over draws. Its second block of Stable
Diffusion's four has two latent positions to a token; in SDXL's layout that is the first.
"""

import torch
from torch import Tensor

from core.images.geometry import token_mask
from core.matching.correspondence import Correspondence
from core.matching.solver import match_tokens
from core.models.noise import NoiseDraws, add_noise
from core.scene import Scene
from lab.baselines.case import Case

BLOCK = "up_blocks.0"
TIMESTEP = 261
DRAWS = 8


@torch.no_grad()
def match_block_outputs(case: Case) -> list[Correspondence]:
    """Every figure's correspondence by outputs of `BLOCK`, without any refinement of ours."""
    return [_match_scene(figure.scene, case.seed) for figure in case.figures]


def _match_scene(scene: Scene, seed: int) -> Correspondence:
    models = scene.models
    (region,) = scene.regions
    clean = torch.cat([scene.target_latent, region.reference_latent])
    noise = NoiseDraws(seed, row=2)
    seen: list[Tensor] = []
    hook = models.unet.get_submodule(BLOCK).register_forward_hook(lambda _, given, output: seen.append(output[-2:]))
    try:
        for _ in range(DRAWS):
            noisy = add_noise(clean, noise.like(clean), float(models.alphas_cumprod[TIMESTEP]))
            scene.predict(noisy, TIMESTEP)
    finally:
        hook.remove()
    features = torch.stack(seen).to(clean.dtype).mean(dim=0)  # [target and reference, channels, rows, columns]
    grid = (features.shape[2], features.shape[3])
    target, reference = features.flatten(2).transpose(1, 2)
    return Correspondence(grid, *match_tokens(target, reference, token_mask(region.reference_latent_mask, grid)))
