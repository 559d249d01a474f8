"""Reads what examples are made of from the folders of a run."""

import json
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from lab.train.salient.composites import Masked, Sources
from lab.train.salient.figures import Figure, drawn_figures, from_picture, read_figures
from lab.train.salient.grounds import read_photographs

DRAWN = 60
"""Figures of rendered scenes."""
CUT_OUT_SHARE, CUT_SHARE, DRAWN_SHARE = 0.5, 0.42, 0.08
"""How often figures are cut-outs, cut from photographs, and drawn scenes."""
LONGEST_PX = 512
MASKS = Path(__file__).parent / "masks"
"""Of photographs, by the last folder and the name of each in its package: GrabCut (Rother et al., 2004) from a box and
strokes, looked at one by one."""


def read_sources(cutouts: Path, photographs: Path) -> Sources:
    """`cutouts`: pictures with transparency at any depth. `photographs`: what `python -m lab.train.photographs` wrote;
    those with transparency are figures, often two of them side by side, and those in MASKS have a known thing."""
    pictures = sorted(photographs.glob("*.png"))
    things = [_read_masked(photographs / file, mask) for file, mask in masked_files(photographs)]
    cut = [*_sprites(pictures), *(figure for thing in things if (figure := _cut(thing)) is not None)]
    return Sources(
        (read_figures(cutouts), cut, drawn_figures(DRAWN)),
        (CUT_OUT_SHARE, CUT_SHARE, DRAWN_SHARE),
        read_photographs([path for path in pictures if not _transparent(path)]),
        things,
    )


def masked_files(photographs: Path) -> list[tuple[str, Path]]:
    """Names of the photographs that have a mask, and the masks' paths."""
    listed = json.loads((photographs / "sources.json").read_text())
    paths = [(source["file"], PurePosixPath(source["path"])) for source in listed]
    masks = [(file, MASKS / f"{path.parent.name}-{path.stem}.png") for file, path in paths]
    return [(file, mask) for file, mask in masks if mask.exists()]


def _transparent(path: Path) -> bool:
    with Image.open(path) as opened:
        return opened.has_transparency_data


def _sprites(paths: Iterable[Path]) -> list[Figure]:
    """The left half of pictures that show one figure twice."""
    figures = []
    for path in filter(_transparent, paths):
        with Image.open(path) as opened:
            half = opened.convert("RGBA").crop((0, 0, opened.width // 2, opened.height))
        if (figure := from_picture(half)) is not None:
            figures.append(figure)
    return figures


def _read_masked(path: Path, mask: Path) -> Masked:
    picture, weights = Image.open(path).convert("RGB"), Image.open(mask).convert("L")
    weights = weights.resize(picture.size)
    for one in (picture, weights):
        one.thumbnail((LONGEST_PX, LONGEST_PX), Image.Resampling.LANCZOS)
    return Masked(np.asarray(picture), np.asarray(weights))


def _cut(thing: Masked) -> Figure | None:
    return from_picture(Image.fromarray(np.dstack([thing.picture, thing.mask]), "RGBA"))
