"""Files in, the correspondence out, with the models in this process: what `plumage match` computes."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from pydantic import TypeAdapter, ValidationError

from cli.engine import Pictures, as_tensors, load_models
from cli.errors import BadInput, Failed
from cli.io import progress_bar
from core.errors import CoreError
from core.params.selection import Pin
from core.params.transfer import TransferParams
from core.pipeline import MatchResult
from core.pipeline import match as run_match
from jobs.schema import Output
from lab.metrics.pck import pck
from worker.pictures import encode_result

ALPHAS = (0.1, 0.05)


@dataclass(frozen=True)
class Found:
    png: bytes
    """Target and reference side by side; what belongs together has one colour."""
    npz: bytes
    figures: dict[str, float]


def read_truth(path: Path) -> list[Pin]:
    """Raises BadInput for a file that is no list of pairs of places, or an empty one."""
    try:
        pairs = TypeAdapter(list[Pin]).validate_json(path.read_bytes())
    except OSError as error:
        raise BadInput(f"{path}: {error.strerror}", "file_not_found") from error
    except ValidationError as error:
        raise BadInput(f"{path}: {error.errors()[0]['msg']}", "bad_truth") from error
    if not pairs:
        raise BadInput(f"{path}: no pair of places", "bad_truth")
    return pairs


def find_matches(pictures: Pictures, params: TransferParams, seed: int, truth: Sequence[Pin]) -> Found:
    """Raises Failed when the weights or the matching fail."""
    given = as_tensors(pictures)
    with progress_bar() as bar:
        bar.say("loading the model")
        loaded = load_models()
        bar.say("match")
        try:
            result = run_match(
                loaded.models, given.target, given.reference, params, masks=given.masks, named=given.named, seed=seed
            )
        except CoreError as error:
            raise Failed(str(error), error.code) from error
    files = encode_result(given, result, Output())
    return Found(files["matches_picture"].data, files["matches"].data, describe(result, given.reference, truth))


def describe(result: MatchResult, reference: torch.Tensor, truth: Sequence[Pin]) -> dict[str, float]:
    """How alike matched places are on average (cosine, -1 to 1) and, with a truth, PCK."""
    matches = result.matches
    figures = {"similarity": round(float(matches.similarity[matches.inside].mean()), 4)}
    mask = torch.ones(reference.shape[1:]) if result.masks.reference is None else result.masks.reference
    for alpha in ALPHAS if truth else ():
        figures[f"pck_{alpha}"] = round(pck(matches, truth, mask, alpha), 4)
    return figures
