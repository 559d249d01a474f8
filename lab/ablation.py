"""The ablation: one row for each source of the match, level of rearrangement and way of masking, with its figures."""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from checkpoints.load import LoadedModels
from core.models.models import Models
from core.params.transfer import TransferParams, with_values
from lab.baselines.case import Bytes, Case
from lab.baselines.methods import oracle, ours
from lab.evaluation.plan import Plan, claim_folder, describe_run, token_pitch_px
from lab.evaluation.run import OnPair, write_whole
from lab.evaluation.summary import mean_with_interval
from lab.metrics.judge import Judge
from lab.pairs import Pair, sample_pair
from lab.scenes import PARTS

SHOWN = ("colour_accuracy", "structure_rate", "texture_rate", "markings_left")
GALLERY_COLUMNS, LABEL_PX = 6, 17
_NO_CLEAN: Mapping[str, Any] = {"latent.warp_strength": 0.0, "latent.reanchor_level": 0.0}


def _selected_by(how: str) -> Mapping[str, Any]:
    return {"masks.target_selection": how, "masks.reference_selection": how}


@dataclass(frozen=True)
class Row:
    """The parameters of the run with these changes, by dotted names."""

    changes: Mapping[str, Any] = field(default_factory=dict)
    masked: bool = True
    """Whether the true masks are given."""
    true_matches: bool = False
    needs: str | None = None
    """The optional model without which it is left out."""


GROUPS: Mapping[str, Mapping[str, Row]] = {
    "source": {
        "per_layer": Row({"matching.source": "per_layer"}),
        "per_step": Row({"matching.source": "per_step"}),
        "unet": Row({"matching.source": "unet"}),
        "vision": Row({"matching.source": "vision"}, needs="correspondence"),
        "fused (default)": Row({"matching.source": "fused"}, needs="correspondence"),
        "true matches": Row(true_matches=True),
    },
    "match": {
        "no neighbours": Row({"matching.neighbor_weight": 0.0}),
        "no affine map": Row({"matching.global_affine_weight": 0.0}),
        "not cropped": Row({"matching.crop": False, "matching.realign": False}),
        "not realigned": Row({"matching.realign": False}),
        "no local affine": Row({"matching.local_affine_sigma": 0.0}),
        "no segments": Row({"matching.max_segments": 0}),
        "mirrored": Row({"matching.mirrored": True}),
        "mutual, keep": Row({"matching.filter": "mutual"}),
        "mutual, nearest": Row({"matching.filter": "mutual", "matching.fill": "nearest"}),
        "ratio, nearest": Row({"matching.filter": "ratio", "matching.fill": "nearest"}),
        "part names": Row({"matching.parts": "parts"}, needs="part_finder"),
    },
    "level": {
        "feature": Row({"injection.mode": "feature", **_NO_CLEAN}),
        "kv": Row({"injection.mode": "kv", **_NO_CLEAN}),
        "v": Row({"injection.mode": "v", **_NO_CLEAN}),
        "block_output": Row({"injection.mode": "block_output", **_NO_CLEAN}),
        "cross_image": Row({"injection.mode": "cross_image", **_NO_CLEAN}),
        "ctrl_x": Row({"injection.mode": "ctrl_x", **_NO_CLEAN}),
        "clean latent": Row({"injection.layers": (), "latent.reanchor_level": 0.0}),
        "latent, anchored": Row({"injection.layers": ()}),
        "no anchor": Row({"latent.reanchor_level": 0.0}),
        "reference shading": Row({"latent.shading_strength": 0.0}),
        "half appearance": Row({"output.appearance_scale": 0.5}),
        "kept lightness": Row({"output.keep_lightness": True}),
    },
    "masks": {
        "none": Row({"masks.mode": "none"}),
        "auto": Row({"masks.mode": "auto"}, masked=False),
        "box": Row(_selected_by("box"), masked=False, needs="segmenter"),
        "text": Row(_selected_by("text"), masked=False, needs="text_segmenter"),
    },
    "preset": {
        "fast": Row({"preset": "fast"}),
        "paper": Row({"preset": "paper", "guidance_scale": 1.0}),
    },
}


def ablate(
    loaded: LoadedModels, plan: Plan, folder: Path, on_pair: OnPair = lambda done, total: None
) -> dict[str, Any]:
    """Runs every row on every pair, keeps finished pairs, with a picture of each, in `folder`, and returns the report.

    Raises ResultsOfAnotherRun, and the errors of `core.errors`.
    """
    rows = rows_for(loaded.models)
    run = describe_run(plan, loaded) | {"ablation": sorted(f"{group}: {name}" for group, name in rows)}
    claim_folder(folder, run)
    found = []
    for done, seed in enumerate(plan.seeds, start=1):
        path = folder / f"{seed}.json"
        if not path.exists():
            pair = sample_pair(plan.domain, seed, run["size"], plan.kind)
            judge = Judge(pair, token_pitch_px=token_pitch_px(loaded))
            figures, results = {}, {}
            for (group, name), row in rows.items():
                title = f"{group}: {name}"
                results[title], figures[title] = _one(loaded, pair, row, plan.params, seed, judge)
            draw_gallery(pair, results, path.with_suffix(".png"))
            write_whole(path, figures)
        found.append(json.loads(path.read_text()))
        on_pair(done, plan.pairs)
    return {"run": run | {"pairs": plan.pairs, "first_seed": plan.first_seed}, "rows": _means(found)}


def rows_for(models: Models) -> dict[tuple[str, str], Row]:
    """All rows that these models can compute, by group and name."""
    return {
        (group, name): row
        for group, rows in GROUPS.items()
        for name, row in rows.items()
        if row.needs is None or getattr(models, row.needs) is not None
    }


def _one(
    loaded: LoadedModels, pair: Pair, row: Row, params: TransferParams, seed: int, judge: Judge
) -> tuple[Bytes, dict[str, list[float]]]:
    """The result; and figures as value and weight, with the seconds that it took from pictures to picture."""
    changes = {name: _selection(value, pair, name) for name, value in row.changes.items()}
    asked = with_values(TransferParams() if "preset" in changes else params, changes)
    began = time.perf_counter()
    case = Case(loaded.models, pair, asked, seed, masked=row.masked)
    result: Bytes = oracle(case) if row.true_matches else ours(case)
    if loaded.models.device.type == "cuda":
        torch.cuda.synchronize()
    seconds = time.perf_counter() - began
    figures = judge(result)
    kept = {name: [figures[name].value, figures[name].weight] for name in SHOWN} | {"seconds": [seconds, 1.0]}
    return result, kept


def draw_gallery(pair: Pair, results: Mapping[str, Bytes], out: Path) -> None:
    """Target, reference, truth and every row's result, each under its name, into a PNG."""
    given = {"target": pair.target.image, "reference": pair.reference.image, "truth": pair.truth.image}
    tiles = list({**given, **results}.items())
    side, lines = pair.target.image.shape[0], -(-len(tiles) // GALLERY_COLUMNS)
    gallery = Image.new("RGB", (GALLERY_COLUMNS * side, lines * (side + LABEL_PX)), "white")
    pen = ImageDraw.Draw(gallery)
    for place, (name, picture) in enumerate(tiles):
        left, top = place % GALLERY_COLUMNS * side, place // GALLERY_COLUMNS * (side + LABEL_PX)
        pen.text((left + 2, top + 2), name, fill="black", font=ImageFont.load_default(11))
        gallery.paste(Image.fromarray(picture), (left, top + LABEL_PX))
    gallery.save(out, "PNG")


def _selection(value: Any, pair: Pair, name: str) -> Any:
    """What `box`, `text` and `parts` mean for a pair: the box around the figure, its category's name, and the names of
    all that is seen of it."""
    if value not in ("box", "text", "parts"):
        return value
    if value == "parts":
        seen = {*np.unique(pair.target.part), *np.unique(pair.reference.part)} - {0}
        return sorted(PARTS[part].name for part in seen)
    of_target = name == "masks.target_selection"
    side = pair.target if of_target else pair.reference
    scene = pair.target_scene if of_target else pair.reference_scene
    if value == "text":
        return {"text": str(scene.category)}
    rows, columns = (side.part > 0).nonzero()
    height, width = side.part.shape
    return {"box": (columns.min() / width, rows.min() / height, (columns.max() + 1) / width, (rows.max() + 1) / height)}


def _means(found: Sequence[Mapping[str, Mapping[str, list[float]]]]) -> dict[str, dict[str, Any]]:
    """Of every row the means over pairs, and of its seconds the median: a machine may be busy for a while."""
    return {
        row: {figure: mean_with_interval([pair[row][figure] for pair in found]) for figure in SHOWN}
        | {"seconds": {"median": median(pair[row]["seconds"][0] for pair in found)}}
        for row in found[0]
    }


def ablation_table(report: Mapping[str, Any]) -> str:
    """As a table in Markdown."""
    heads = ("", *SHOWN, "seconds")
    lines = [f"| {' | '.join(heads)} |", f"|{'|'.join(['---'] + ['--:'] * (len(heads) - 1))}|"]
    for row, figures in report["rows"].items():
        means = (*(figures[name]["mean"] for name in SHOWN), figures["seconds"]["median"])
        cells = ["-" if mean is None else f"{mean:.3f}" if mean < 1.5 else f"{mean:.1f}" for mean in means]
        lines.append(f"| {' | '.join([row, *cells])} |")
    return "\n".join(lines)
