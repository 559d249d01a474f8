"""Where one place of the target matched, at every layer and every step of a run."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from core.errors import EmptyMaskError
from core.images.geometry import token_at, token_grid, token_mask
from core.injection import InjectionStep, Seen
from core.masks.regions import inside
from core.matching.one_shot import match_regions
from core.matching.solver import match_tokens
from core.models.models import Models
from core.models.unet import select_layers
from core.params.selection import Place
from core.params.transfer import TransferParams
from core.pipeline import Stopwatch, TransferInputs, build_scenes, correspond, tell_matches
from core.sampling.sampler import sample
from core.scene import Scene


@dataclass(frozen=True)
class Explanation:
    """Matches of one place by each layer's own input, whatever the run itself used."""

    layers: tuple[str, ...]
    noise_levels: tuple[float, ...]
    """t / 1000 of the steps that had reference rows."""
    places: Float[Tensor, "layers steps 2"]
    """Matched places (x, y) as fractions of the reference picture, 0 to 1."""
    similarity: Float[Tensor, "layers steps"]
    """Cosines, -1 to 1."""
    used: Place
    """Where the run's own map, the last one, has the place."""
    region: int
    """Which region, from 0, the place lies in: places are in that region's reference."""


class _Witness:
    """A `core.injection.Observer` of one token."""

    def __init__(self, scene: Scene, layers: list[str], place: Place) -> None:
        self.layers = layers
        self.rows: list[tuple[float, list[Place], list[float]]] = []
        self._scene = scene
        self._place = on_canvas(scene, place)

    def observe(self, step: InjectionStep, seen: Seen, timestep: int) -> None:
        region = self._scene.regions[0]
        found, cosines = [], []
        for name in self.layers:
            rows = step.layout.split(seen[name])[0]
            output, reference = rows.output[-1], rows.references[0][-1]
            grid = token_grid(self._scene.latent_size, len(output))
            token = int(token_at(torch.tensor(self._place, dtype=torch.float64), grid))
            there = token_mask(region.reference_latent_mask, grid)
            index, cosine = match_tokens(output[token][None], reference, there)
            found.append(self._in_reference(int(index) % grid[1], int(index) // grid[1], grid))
            cosines.append(float(cosine))
        self.rows.append((timestep / len(self._scene.models.alphas_cumprod), found, cosines))

    def _in_reference(self, column: int, row: int, grid: tuple[int, int]) -> Place:
        left, top, width, height = self._scene.regions[0].reference.box
        x, y = ((column + 0.5) / grid[1] - left) / width, ((row + 0.5) / grid[0] - top) / height
        return min(max(x, 0.0), 1.0), min(max(y, 0.0), 1.0)


def on_canvas(scene: Scene, place: Place) -> Place:
    """A place of the target on the scene's canvas, both as fractions."""
    left, top, width, height = scene.target.box
    return left + place[0] * width, top + place[1] * height


def _holds(scene: Scene, place: Place) -> bool:
    x, y = on_canvas(scene, place)
    mask = scene.target.mask
    there = torch.tensor([[x, y]], device=mask.device)
    return 0.0 <= x < 1.0 and 0.0 <= y < 1.0 and bool(inside(mask, there))


def explain(
    models: Models,
    inputs: TransferInputs,
    params: TransferParams,
    place: Place,
    *,
    seed: int,
    layers: Sequence[str] | None = None,
) -> Explanation:
    """Runs the transfer that `params` ask for and looks at `place`, (x, y) as fractions of the target.

    `layers` are self-attention layers by name or block; None: those that are injected, or else those that suit the
    backbone. Raises what `core.pipeline.transfer` raises, and EmptyMaskError for a place outside every mask.
    """
    params = params.resolved()
    figures, _, _ = build_scenes(models, inputs, params, Stopwatch(time.perf_counter, models.device))
    holding = [figure for figure in figures if _holds(figure.scene, place)]
    if not holding:
        raise EmptyMaskError(f"nothing is repainted at ({place[0]:g}, {place[1]:g})")
    figure = holding[-1]
    scene, number = figure.scene, figure.selected.number
    chosen = layers or params.injection.layers or models.backbone.injection_layers
    witness = _Witness(scene, select_layers(models.unet, chosen), place)
    start = correspond(figure, inputs.target, params, seed)
    (sampled,) = sample(scene, [start], params, observers=[witness])
    maps = sampled.matched or match_regions(scene, params.matching, seed)
    last = tell_matches([figure], [maps], inputs.target)
    rows, columns = last.similarity.shape
    token = token_at(torch.tensor(place, dtype=torch.float64), (rows, columns))
    x, y = last.positions.flatten(0, 1)[token].tolist()
    return Explanation(
        tuple(witness.layers),
        tuple(level for level, _, _ in witness.rows),
        torch.tensor([found for _, found, _ in witness.rows]).reshape(-1, len(witness.layers), 2).transpose(0, 1),
        torch.tensor([cosines for _, _, cosines in witness.rows]).reshape(-1, len(witness.layers)).T,
        (x, y),
        number,
    )
