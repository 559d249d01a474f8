"""The report on photographs as a page and as a contact sheet."""

from html import escape
from pathlib import Path
from typing import Any

from lab.evaluation.page import draw_page, draw_table, figures_table, folded, picture_rows, with_interval
from lab.evaluation.sheet import SHEET_PAIRS, stack_strips
from lab.photographs.figures import FIGURES
from lab.photographs.matches import PAIR_FIGURES
from lab.photographs.strips import column_names
from lab.photographs.summary import RESULT_FIGURES, Means
from lab.photographs.truth import TRUTH_FIGURES

OF_TRUTH = (
    "<p>Against the truth, over the target's mask. within_12: share of pixels nearer than CIE76 12. "
    "delta_e: mean CIE76. sharpness: mean gradient over the truth's. edge_correlation: of gradient magnitudes. "
    "ring: mean CIE76 within 4 px of the outline. outside_max: greatest change in levels outside.</p>"
)
OF_FEATURES = (
    "<p>By the feature model. self_similarity: to the target's structure, lower is better. gram: to the reference's "
    "appearance inside the masks, lower is better. dino_i: similarity to the reference as a whole, higher is better. "
    "They trade off: read them together.</p>"
)


def photographs_page(report: dict[str, Any], folder: Path) -> str:
    """The page of a report, with the strips that its run kept in `folder`."""
    run = report["run"]
    facts = {
        "pairs": len(report["pairs"]),
        "weights": f"{run['model']['id']} at {run['model']['revision']}, {run['model']['dtype']}",
        "machine": f"{run['model']['device']} ({run['machine']}), torch {run['torch']}",
    }
    if run["feature_model"] is not None:
        facts["feature model"] = f"{run['feature_model']['id']} at {run['feature_model']['revision']}"
    sections = [("All pairs", _meaning(report["all"]) + _tables(report["methods"], report["all"]))]
    if len(report["sets"]) > 1:
        by_set = ((name, _tables(report["methods_by_set"][name], part)) for name, part in report["sets"].items())
        sections.append(("By set", "".join(folded(name, tables) for name, tables in by_set)))
    strips = [(row["name"], folder / f"{row['name']}.png") for row in report["pairs"][:SHEET_PAIRS]]
    columns = column_names(run["methods"], run["truth"])
    sections.append(("Pairs, unselected", picture_rows(columns, strips)))
    return draw_page("Plumage: photographs", facts, sections)


def draw_photographs_sheet(report: dict[str, Any], folder: Path, out: Path) -> None:
    """Puts the strips of the first pairs, that its run kept in `folder`, under each other into a PNG."""
    strips = [folder / f"{row['name']}.png" for row in report["pairs"][:SHEET_PAIRS]]
    stack_strips(strips, column_names(report["run"]["methods"], report["run"]["truth"]), out)


def _meaning(means: Means) -> str:
    known = ((TRUTH_FIGURES, OF_TRUTH), (FIGURES, OF_FEATURES))
    return "".join(meaning for figures, meaning in known if any(name in means for name in figures))


def _tables(methods: dict[str, Means], of_pairs: Means) -> str:
    """Methods by figures, and the figures of the pairs themselves."""
    nothing = {"mean": None}
    figures = [name for name in RESULT_FIGURES if any(name in means for means in methods.values())]
    filled = {method: {name: means.get(name, nothing) for name in figures} for method, means in methods.items()}
    rows = [[escape(name), with_interval(of_pairs[name])] for name in PAIR_FIGURES if name in of_pairs]
    return (figures_table(filled) if figures else "") + (draw_table(["", "pairs"], rows) if rows else "")
