"""The figures of photographs as lines of text and as a page."""

from pathlib import Path
from typing import Any

from lab.evaluation.page import draw_page, figures_table, picture_rows
from lab.photographs.figures import FIGURES
from lab.photographs.run import GIVEN

MEANING = (
    "<p>self_similarity: to the target's structure, lower is better. gram: to the reference's appearance inside the "
    "masks, lower is better. dino_i: similarity to the reference as a whole, higher is better. They trade off: read "
    "them together.</p>"
)


def photographs_table(report: dict[str, Any]) -> str:
    """Means of all methods."""
    lines = ["".join([f"{'':24}", *(f"{figure:>17}" for figure in FIGURES)])]
    for method, figures in report["methods"].items():
        lines.append("".join([f"{method:24}", *(f"{figures[figure]['mean']:>17.4f}" for figure in FIGURES)]))
    return "\n".join(lines)


def photographs_page(report: dict[str, Any], folder: Path) -> str:
    """The page of a report, with the strips that its run kept in `folder`."""
    run = report["run"]
    facts = {
        "pairs": len(report["pairs"]),
        "weights": f"{run['model']['id']} at {run['model']['revision']}, {run['model']['dtype']}",
        "feature model": f"{run['feature_model']['id']} at {run['feature_model']['revision']}",
        "machine": f"{run['model']['device']} ({run['machine']}), torch {run['torch']}",
    }
    strips = [(row["name"], folder / f"{row['name']}.png") for row in report["pairs"]]
    sections = [
        ("Distances", MEANING + figures_table(report["methods"])),
        ("Pairs", picture_rows([*GIVEN, *run["methods"]], strips)),
    ]
    return draw_page("Plumage: photographs", facts, sections)
