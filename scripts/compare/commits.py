"""Two commits, the same twelve transfers: are the results the same?

Every commit is checked out into a temporary work tree and rendered by a process of its own, with the interpreter and
the libraries of this checkout, and its sample pictures. Both commits so see one machine, one torch and one input.
"""

import math
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
import numpy as np
import numpy.typing as npt
from transfers import TRANSFERS

ROOT = Path(__file__).parents[2]
DRIVER = Path(__file__).with_name("render.py")
QUIET = {
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TRANSFORMERS_VERBOSITY": "error",
    "DIFFUSERS_VERBOSITY": "error",
}


@dataclass(frozen=True)
class Verdict:
    text: str
    accepted: bool


@click.command()
@click.argument("before")
@click.argument("after")
@click.option(
    "--min-psnr", type=click.FloatRange(min=0.0), help="Accept pictures that differ, down to this PSNR in dB."
)
def compare(before: str, after: str, min_psnr: float | None) -> None:
    """Render twelve transfers at the commits BEFORE and AFTER and compare the bytes of pictures, previews, masks and
    matches. Exit status 0: all are equal, or with --min-psnr all pictures are near enough; 1: some differ."""
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    commits = [resolve(before), resolve(after)]
    with TemporaryDirectory(prefix="compare-") as folder:
        sides = [Path(folder) / "before", Path(folder) / "after"]
        for commit, out in zip(commits, sides, strict=True):
            out.mkdir()
            render(commit, out, Path(folder) / "checkout")
        files = [(sides[0] / str(number), sides[1] / str(number)) for number in range(1, len(TRANSFERS) + 1)]
        verdicts = [judge(ours, theirs, min_psnr) for ours, theirs in files]
    for number, (transfer, verdict) in enumerate(zip(TRANSFERS, verdicts, strict=True), start=1):
        click.echo(f"{number:2}  {transfer.name:46}  {verdict.text}")
    accepted = sum(verdict.accepted for verdict in verdicts)
    kind = "equal" if min_psnr is None else f"equal or above {min_psnr:g} dB"
    click.echo(f"{accepted} of {len(verdicts)} {kind}")
    sys.exit(accepted < len(verdicts))


def resolve(revision: str) -> str:
    """The commit's hash. Raises click.BadParameter."""
    command = ["git", "rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode != 0:
        raise click.BadParameter(f"{revision} is no commit")
    return done.stdout.strip()


@contextmanager
def checked_out(commit: str, folder: Path) -> Iterator[Path]:
    """The commit's files, in a work tree that is there for a while."""
    subprocess.run(["git", "worktree", "add", "--quiet", "--detach", folder, commit], cwd=ROOT, check=True)
    try:
        yield folder
    finally:
        subprocess.run(["git", "worktree", "remove", "--force", folder], cwd=ROOT, check=True)


def render(commit: str, out: Path, folder: Path) -> None:
    """The results of all transfers, by the code and the models of one commit. Raises click.ClickException."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PLUMAGE_")}
    environment.setdefault("OMP_NUM_THREADS", "1")
    environment |= QUIET
    with checked_out(commit, folder) as checkout:
        environment["PYTHONPATH"] = str(checkout)
        click.echo(f"rendering {len(TRANSFERS)} transfers at {commit[:12]}", err=True)
        # Elsewhere than in this checkout, whose packages the interpreter must not find.
        done = subprocess.run([sys.executable, DRIVER, checkout, out], cwd=out, env=environment)
    if done.returncode != 0:
        raise click.ClickException(f"nothing to compare: rendering at {commit[:12]} failed")


def judge(before: Path, after: Path, min_psnr: float | None) -> Verdict:
    """One transfer: its files of both sides, without their suffixes."""
    for side, path in (("before", before), ("after", after)):
        if (failure := path.with_suffix(".txt")).exists():
            return Verdict(f"failed {side}: {failure.read_text().splitlines()[-1]}", accepted=False)
    ours, theirs = (dict(np.load(path.with_suffix(".npz"))) for path in (before, after))
    others = [name for name in ours if name != "pictures" and not _same(ours[name], theirs[name])]
    if _same(ours["pictures"], theirs["pictures"]):
        if not others:
            return Verdict("equal", accepted=True)
        return Verdict(f"equal pictures, other {', '.join(others)}", accepted=min_psnr is not None)
    if ours["pictures"].shape != theirs["pictures"].shape:
        return Verdict(f"pictures of {ours['pictures'].shape} and {theirs['pictures'].shape}", accepted=False)
    psnr = min(map(_psnr, ours["pictures"], theirs["pictures"]))
    share = (ours["pictures"] != theirs["pictures"]).any(axis=-1).mean()
    text = f"PSNR {psnr:.1f} dB, {share:.2%} of pixels differ; other {', '.join(others) or 'results are equal'}"
    return Verdict(text, accepted=min_psnr is not None and psnr >= min_psnr)


def _same(ours: npt.NDArray[Any], theirs: npt.NDArray[Any]) -> bool:
    return ours.dtype == theirs.dtype and ours.shape == theirs.shape and ours.tobytes() == theirs.tobytes()


def _psnr(ours: npt.NDArray[np.uint8], theirs: npt.NDArray[np.uint8]) -> float:
    """In dB, over all channels; infinite where nothing differs."""
    error = float(((ours.astype(np.float64) - theirs.astype(np.float64)) ** 2).mean())
    return math.inf if error == 0.0 else 10.0 * math.log10(255.0**2 / error)


if __name__ == "__main__":
    compare(prog_name="scripts/compare-commits")
