"""Pictures of Debian packages that may be trained on, by the licence of every single file.

Taken are files in the public domain and under CC0, CC-BY and CC-BY-SA, as the package's copyright file lists them
(machine-readable, DEP-5); where pictures were converted since, by their names without the suffix. Of GCompris' folders
that the packaged list does not know in their present form, `gcompris.json` gives the licences of GCompris' own list
(its REUSE.toml).
"""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from io import BytesIO
from pathlib import Path, PurePosixPath

from PIL import Image

from lab.train.photographs.resources import read_resources

PACKAGES = ("gcompris-qt-data", "lomiri-wallpapers-16.04", "lomiri-wallpapers-20.04", "ukui-wallpapers")
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
PERMITTED = re.compile(r"public-domain|CC0-1\.0|CC-BY(-SA)?-[1-4]\.\d")
FOLDERS = {
    "gcompris-qt-data": re.compile(r"(categorization|clickgame|erase|explore_\w+)/"),
    "ukui-wallpapers": re.compile(r"\w+\.jpg|desert|calla|goldfish"),
}
"""Where in a package photographs are, beside drawings; all of those that are not named here."""
LONGEST_PX, LEAST_PX = 1024, 64
LIST = "sources.json"


@dataclass(frozen=True)
class Source:
    """One picture and by which right it is used."""

    file: str
    package: str
    path: str
    licence: str
    holder: str


@dataclass(frozen=True)
class _Licence:
    pattern: str
    name: str
    holder: str


def fetch_packages(folder: Path) -> None:
    """Downloads and unpacks the packages below `folder`, by the system's own package manager, without installing them;
    those that lie there already are kept. Raises subprocess.CalledProcessError."""
    folder.mkdir(parents=True, exist_ok=True)
    for package in PACKAGES:
        if (folder / package).is_dir():
            continue
        subprocess.run(["apt-get", "download", package], cwd=folder, check=True)
        (archive,) = folder.glob(f"{package}_*.deb")
        unpacked = folder / f"{package}.part"
        shutil.rmtree(unpacked, ignore_errors=True)
        subprocess.run(["dpkg-deb", "--extract", archive, unpacked], check=True)
        unpacked.replace(folder / package)


def gather(packages: Path, target: Path) -> list[Source]:
    """Writes all permitted pictures of the unpacked packages to `target`, at most `LONGEST_PX` long, and a list of them
    with their licences."""
    target.mkdir(parents=True, exist_ok=True)
    found: list[Source] = []
    for package in PACKAGES:
        licences = list(_licences(packages / package / "usr/share/doc" / package / "copyright"))
        if package == "gcompris-qt-data":
            listed = json.loads((Path(__file__).parent / "gcompris.json").read_text())
            licences += [_Licence(path, one["licence"], one.get("holder", "")) for path, one in listed.items()]
        for path, content in _pictures(packages / package):
            licence = _of(path, licences)
            where = FOLDERS.get(package)
            if licence is None or not PERMITTED.fullmatch(licence.name) or (where and not where.search(path)):
                continue
            file = f"{len(found):03}-{PurePosixPath(path).stem}.png"
            if _write(content, target / file):
                found.append(Source(file, package, path, licence.name, licence.holder))
    (target / LIST).write_text(json.dumps([asdict(source) for source in found], indent=1, ensure_ascii=False) + "\n")
    return found


def _pictures(package: Path) -> Iterator[tuple[str, bytes]]:
    """Paths, as the copyright file names them, and contents."""
    for path in sorted(package.rglob("*")):
        if path.suffix == ".rcc":
            inside = read_resources(path)
            yield from ((n.removeprefix("gcompris/"), c) for n, c in inside if n.lower().endswith(SUFFIXES))
        elif path.suffix.lower() in SUFFIXES and "backgrounds" in path.parts and not path.is_symlink():
            yield path.name, path.read_bytes()


def _licences(copyright_file: Path) -> Iterator[_Licence]:
    """Patterns of files with their licence, in the order of the copyright file: the last that matches counts."""
    for paragraph in re.split(r"\n\s*\n", copyright_file.read_text()):
        fields = {name: value for name, value in re.findall(r"^([\w-]+):((?:.*)(?:\n[ \t].*)*)", paragraph, re.M)}
        if "Files" in fields and "License" in fields:
            holder = " ".join(fields.get("Copyright", "").split())
            licence = fields["License"].strip().split("\n")[0]
            yield from (_Licence(pattern, licence, holder) for pattern in fields["Files"].split())


def _of(path: str, licences: list[_Licence]) -> _Licence | None:
    matching = [one for one in licences if fnmatchcase(_stem(path), _stem(one.pattern))]
    by_name = [one for one in licences if "/" not in path and PurePosixPath(one.pattern).name == path]
    found = [*matching, *by_name]
    return found[-1] if found else None


def _stem(path: str) -> str:
    """Without the suffix of a picture."""
    return path.rpartition(".")[0] if path.lower().endswith(SUFFIXES) else path


def _write(content: bytes, path: Path) -> bool:
    """Whether the picture is large enough."""
    with Image.open(BytesIO(content)) as opened:
        picture = opened.convert("RGBA" if opened.has_transparency_data else "RGB")
    if min(picture.size) < LEAST_PX:
        return False
    picture.thumbnail((LONGEST_PX, LONGEST_PX), Image.Resampling.LANCZOS)
    picture.save(path, compress_level=1)
    return True
