"""Where one place of the target matched, at every layer and every step of a run."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from core.errors import EmptyMaskError
from core.images.geometry import token_at, token_mask
from core.injection.injection import FeatureInjection, Seen, injection_rows
from core.masks.regions import NONE_NAMED, UNMASKED, CanvasRegion, Masks, Named, inside
from core.matching.correspondence import describe
from core.matching.one_shot import correspond, look_once
from core.matching.solver import match_tokens
from core.models.models import Models
from core.models.unet import select_layers
from core.params.selection import Place
from core.params.transfer import TransferParams
from core.pipeline import encode, prepare, select
from core.sampling.sampler import Start, sample


@dataclass(frozen=True)
class Explanation:
    """Matches of one place by what each layer was given, whatever the run itself used."""

    layers: tuple[str, ...]
    noise_levels: tuple[float, ...]
    """t / 1000 of the steps at which the references were seen."""
    places: Float[Tensor, "layers steps 2"]
    """Matched places (x, y) as fractions of the reference picture, 0 to 1."""
    similarity: Float[Tensor, "layers steps"]
    """Cosines, -1 to 1."""
    used: Place
    """Where the run's own map, the last one, has the place."""
    region: int
    """Which region, from 0, the place lies in: places are in that region's reference."""


class _Witness:
    """A `core.injection.injection.Watcher` that looks at one token."""

    def __init__(self, layers: list[str], place: Place, number: int, region: CanvasRegion, total: int) -> None:
        self.layers = layers
        self.rows: list[tuple[float, list[Place], list[float]]] = []
        self._place = place
        self._number = number
        self._region = region
        self._total = total

    def saw(self, injections: Sequence[FeatureInjection], seen: Seen, timestep: int) -> None:
        injection = injections[0]
        found, cosines = [], []
        for name in self.layers:
            own = injection_rows(injections, 0, seen[name])
            grid = injection.grid(own)
            token = int(token_at(torch.tensor(self._place, dtype=torch.float64), grid))
            there = token_mask(injection.regions[self._number].reference_mask, grid)
            index, cosine = match_tokens(own[0, token][None], own[1 + self._number], there)
            found.append(self._in_reference(int(index) % grid[1], int(index) // grid[1], grid))
            cosines.append(float(cosine))
        self.rows.append((timestep / self._total, found, cosines))

    def _in_reference(self, column: int, row: int, grid: tuple[int, int]) -> Place:
        left, top, width, height = self._region.reference.box
        x, y = ((column + 0.5) / grid[1] - left) / width, ((row + 0.5) / grid[0] - top) / height
        return min(max(x, 0.0), 1.0), min(max(y, 0.0), 1.0)


def explain(
    models: Models,
    target: Float[Tensor, "target_channels target_height target_width"],
    reference: Float[Tensor, "reference_channels reference_height reference_width"],
    params: TransferParams,
    place: Place,
    *,
    masks: Masks = UNMASKED,
    named: Named = NONE_NAMED,
    seed: int,
    layers: Sequence[str] | None = None,
) -> Explanation:
    """Runs the transfer that `params` ask for and looks at `place`, (x, y) as fractions of the target.

    `layers` are self-attention layers by name or block; None: those that are injected, or else those that suit the
    backbone. Raises what `core.pipeline.transfer` raises, and EmptyMaskError for a place that no mask lets in.
    """
    regions, _ = select(models, target, reference, masks, params, named)
    canvases = prepare(models, target, regions, params)
    pairs, predict = encode(models, canvases, "", "", params)
    where = torch.tensor([place], device=models.device)
    holding = [number for number, region in enumerate(canvases.regions) if bool(inside(region.target_mask, where))]
    if not holding:
        raise EmptyMaskError(f"nothing is repainted at ({place[0]:g}, {place[1]:g})")
    number = holding[0]
    chosen = layers or params.injection_layers or models.backbone.injection_layers
    total = len(models.alphas_cumprod)
    witness = _Witness(select_layers(models.unet, chosen), place, number, canvases.regions[number], total)
    given = (models, canvases, pairs, predict)
    start = Start(seed, correspond(*given, params, seed))
    (sampled,) = sample(*given, [start], params, watchers=[witness])
    last = describe(sampled.matched or look_once(*given, params, seed), canvases)
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
