"""The command; see the package's docstring."""

import argparse
from pathlib import Path

from lab.photographs.make.pairs import Kind, Recipe, make_pairs, write_pair
from lab.photographs.make.sources import BadSource

SIZE_PX = {Kind.SELF: 1024, Kind.COMPOSITE: 1024, Kind.LARGE: 3000}
SHARE = {Kind.SELF: 1 / 2, Kind.COMPOSITE: 1 / 2, Kind.LARGE: 2 / 3}


def main() -> None:
    """Makes a folder of pairs for `plumage evaluate --photographs`."""
    parser = argparse.ArgumentParser(prog="python -m lab.photographs.make")
    parser.add_argument("--kind", type=Kind, choices=list(Kind), default=Kind.SELF)
    parser.add_argument("--cutouts", type=Path, help="PNGs with transparency, at any depth; for large figures: none")
    parser.add_argument("--photographs", type=Path, required=True, help="pictures to set figures on, at any depth")
    parser.add_argument("--pairs", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--size", type=int, help="side of the pictures in pixels: 1024; of large ones 3000")
    parser.add_argument("--share", type=float, help="of the side that a figure takes: 1/2; of large ones 2/3")
    parser.add_argument("--out", type=Path, required=True, help="the folder")
    options = parser.parse_args()
    kind: Kind = options.kind
    size = SIZE_PX[kind] if options.size is None else options.size
    share = SHARE[kind] if options.share is None else options.share
    if options.pairs < 1 or size < 64 or not 0.0 < share <= 1.0 or options.seed < 0:
        parser.error("--pairs is at least 1, --seed 0, --size 64, and --share above 0 and at most 1")
    if kind is not Kind.LARGE and options.cutouts is None:
        parser.error(f"--cutouts: {kind} pairs are made of them")
    recipe = Recipe(kind, options.photographs, options.cutouts, options.pairs, options.seed, size, share)
    options.out.mkdir(parents=True, exist_ok=True)
    try:
        for pair in make_pairs(recipe):
            write_pair(pair, options.out)
    except BadSource as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
