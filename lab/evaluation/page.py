"""The report as one HTML file that needs nothing else: tables with intervals, pictures inside."""

import base64
import io
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from typing import Any

from PIL import Image

from core.params.transfer import dotted

STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; padding: 0 1rem; max-width: 110rem; color: #1d2327; }
table { border-collapse: collapse; margin: .5rem 0 1.5rem; }
th, td { padding: .25rem .8rem; text-align: right; border-bottom: 1px solid #dde1e5; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
td small { color: #68737d; margin-left: .4rem; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .15rem 1rem; }
dd { margin: 0; } dt { color: #68737d; }
summary { cursor: pointer; font-weight: 600; margin: .4rem 0; }
.sheet { overflow-x: auto; } .sheet > div { width: max-content; }
.names { display: grid; position: sticky; top: 0; background: #fff; font-size: 12px; }
.names span { overflow: hidden; text-overflow: ellipsis; padding: .2rem; }
.sheet img { display: block; } .sheet p { margin: .5rem 0 .1rem; font-size: 12px; color: #68737d; }
"""
JPEG_QUALITY = 92

Table = tuple[Sequence[str], Iterable[Sequence[str]]]
"""Heads of the columns, and rows of cells that are HTML already."""


def draw_page(title: str, facts: dict[str, Any], sections: Iterable[tuple[str, str]]) -> str:
    """A whole page: what was run, then sections of a heading and HTML each."""
    listed = "".join(f"<dt>{escape(name)}</dt><dd>{escape(str(value))}</dd>" for name, value in facts.items())
    parts = "".join(f"<h2>{escape(heading)}</h2>{content}" for heading, content in sections)
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(title)}</title><style>{STYLE}</style>'
        f"<h1>{escape(title)}</h1><dl>{listed}</dl>{parts}</html>\n"
    )


def draw_table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Heads as text, cells as HTML."""
    head = "".join(f"<th>{escape(name)}</th>" for name in heads)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{body}</table>"


def with_interval(figure: dict[str, Any]) -> str:
    """A mean and the half width around it, as a cell; a dash where nothing was judged."""
    if figure["mean"] is None:
        return "&ndash;"
    low, high = figure["ci95"]
    return f"{figure['mean']:.3f}<small>{low:.3f}&ndash;{high:.3f}</small>"


def figures_table(figures: dict[str, dict[str, Any]]) -> str:
    """Methods down, figures across, each with its interval."""
    names = list(next(iter(figures.values())))
    rows = [[escape(method), *(with_interval(row[name]) for name in names)] for method, row in figures.items()]
    return draw_table(["", *names], rows)


def matches_table(matching: dict[str, dict[str, float | None]]) -> str:
    """Sources of matches down, shares of tokens matched rightly across."""
    shares = list(next(iter(matching.values())))
    rows = [
        [escape(source), *("&ndash;" if row[share] is None else f"{row[share]:.3f}" for share in shares)]
        for source, row in matching.items()
    ]
    return draw_table(["", *shares], rows)


def folded(summary: str, content: str) -> str:
    """HTML that is shown on a click."""
    return f"<details><summary>{escape(summary)}</summary>{content}</details>"


def picture_rows(columns: Sequence[str], rows: Iterable[tuple[str, Path]]) -> str:
    """Rows of equally wide pictures that lie side by side in one file each, under the names of the columns."""
    drawn, width = [], 0
    for caption, path in rows:
        with Image.open(path) as strip:
            width = max(width, strip.width)
            drawn.append(f'<p>{escape(caption)}</p><img width="{strip.width}" src="{_as_data(strip)}" alt="">')
    names = "".join(f"<span>{escape(name)}</span>" for name in columns)
    grid = f'style="width: {width}px; grid-template-columns: repeat({len(columns)}, 1fr)"'
    return f'<div class="sheet"><div><div class="names" {grid}>{names}</div>{"".join(drawn)}</div></div>'


def evaluation_page(report: dict[str, Any], columns: Sequence[str], strips: Iterable[tuple[str, Path]]) -> str:
    """The page of a report of `lab.evaluation.summarise`."""
    run = report["run"]
    facts = {
        "pairs": f"{run['pairs']} from seed {run['first_seed']}, set {run['set']}",
        "scenes": f"{run['domain']}, {run['size']} px",
        "weights": f"{run['model']['id']} at {run['model']['revision']}, {run['model']['dtype']}",
        "machine": f"{run['model']['device']} ({run['machine']}), torch {run['torch']}",
        "code": run["code"][:12],
    }
    apart = report["held_out"]
    sections = [("All pairs", _both_tables(report))]
    if apart["only"] and apart["without"]:
        sections.append((f"Without {apart['category']}", _both_tables(apart["without"])))
        title = f"{apart['category']} alone, held out of the UNet's auxiliary loss"
        sections.append((title, _both_tables(apart["only"])))
    categories = "".join(folded(name, _both_tables(part)) for name, part in report["categories"].items())
    sections += [("By category", categories), ("Pairs, unselected", picture_rows(columns, strips))]
    sections.append(("Parameters", folded("all", _parameters(run))))
    return draw_page("Plumage: evaluation", facts, sections)


def _both_tables(part: dict[str, Any]) -> str:
    return figures_table(part["methods"]) + (matches_table(part["matching"]) if part["matching"] else "")


def _parameters(run: dict[str, Any]) -> str:
    return draw_table(
        ["", "ours"], [[escape(name), escape(str(value))] for name, value in dotted(run["params"]).items()]
    )


def _as_data(picture: Image.Image) -> str:
    file = io.BytesIO()
    picture.convert("RGB").save(file, "JPEG", quality=JPEG_QUALITY, subsampling=0)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"
