"""`plumage match`: which place of the reference belongs to which of the target, without repainting anything."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import click
from pydantic import TypeAdapter, ValidationError

from cli.errors import BadInput
from cli.options import INPUT_FILE, OUTPUT_FILE, SEED, named_options, param_option, picture_arguments
from cli.output import check_writable, replace_file
from cli.params import read_params
from cli.pictures import read_named, read_pictures
from core.params.selection import Landmark
from core.params.transfer import TransferParams
from jobs.schema import Output

ALPHAS = (0.1, 0.05)
"""Of PCK: how far from the true place a match still counts, as a fraction of the figure's longer side."""


@click.command()
@picture_arguments
@click.option("-o", "--out", type=OUTPUT_FILE, required=True, help="Where the coloured PNG goes.")
@click.option("--map", "numbers", type=OUTPUT_FILE, help="Where the map goes, as .npz.")
@click.option(
    "--truth", type=INPUT_FILE, help='JSON list of {"target": [x, y], "reference": [x, y]}, 0 to 1: gives PCK.'
)
@click.option("--seed", type=SEED, default=0, show_default=True, help="Seed of the noise.")
@click.option("--target-mask", type=INPUT_FILE, help="White = what takes part; of the target's size.")
@click.option("--reference-mask", type=INPUT_FILE, help="White = what takes part; of the reference's size.")
@named_options
@param_option
def match(
    target: Path,
    reference: Path,
    out: Path,
    numbers: Path | None,
    truth: Path | None,
    seed: int,
    target_mask: Path | None,
    reference_mask: Path | None,
    named_pictures: tuple[str, ...],
    named_masks: tuple[str, ...],
    assignments: tuple[str, ...],
) -> None:
    """Match TARGET with REFERENCE: places of one colour belong together. One line of JSON has their mean similarity, a
    cosine from -1 to 1, and with --truth PCK."""
    check_writable(out)
    params = read_params(assignments)
    named = read_named(named_pictures, named_masks)
    pictures = read_pictures(target, reference, target_mask, reference_mask, params, named)
    matched = find_matches(pictures, params, seed, read_truth(truth) if truth else [])
    replace_file(out, matched.png)
    if numbers is not None:
        replace_file(numbers, matched.npz)
    click.echo(json.dumps(matched.figures))


def read_truth(path: Path) -> list[Landmark]:
    """Pairs of places. Raises BadInput for a file that has none, or anything else."""
    try:
        pairs = TypeAdapter(list[Landmark]).validate_json(path.read_bytes())
    except OSError as error:
        raise BadInput(f"{path}: {error.strerror}", "file_not_found") from error
    except ValidationError as error:
        raise BadInput(f"{path}: {error.errors()[0]['msg']}", "bad_truth") from error
    if not pairs:
        raise BadInput(f"{path}: no pair of places", "bad_truth")
    return pairs


@dataclass(frozen=True)
class Matched:
    png: bytes
    """Target and reference side by side; what belongs together has one colour."""
    npz: bytes
    figures: dict[str, float]
    """How alike matched places are on average (cosine, -1 to 1) and, with a truth, PCK by its alpha."""


def find_matches(
    pictures: Mapping[str, bytes], params: TransferParams, seed: int, truth: Sequence[Landmark]
) -> Matched:
    """Raises Failed when the weights or the matching fail."""
    import torch

    from cli.engine import running_models
    from core.pipeline import match as match_pictures
    from lab.metrics.pck import pck
    from worker.pictures import ImageWriting, decode_inputs, encode_result

    inputs = decode_inputs(pictures)
    with running_models("match") as (loaded, _):
        result = match_pictures(loaded.models, inputs, params, seed=seed)
    files = encode_result(inputs, result, ImageWriting(Output()))
    matches, mask = result.matches, result.masks.reference
    figures = {"similarity": round(float(matches.similarity[matches.inside].mean()), 4)}
    for alpha in ALPHAS if truth else ():
        inside = torch.ones(inputs.reference.shape[1:]) if mask is None else mask
        figures[f"pck_{alpha}"] = round(pck(matches, truth, inside, alpha), 4)
    return Matched(files["matches_picture"].data, files["matches"].data, figures)
