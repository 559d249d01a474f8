"""Runs Schemathesis against the running service: all checks and all phases, several seeds.

`python -m tests.conformance.run --examples 500 --seed 1 --seed 2 --seed 3` is the long run, one part of
the document at a time.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import click

from service.openapi.document import TAGS
from tests.live import Live, running_service
from tests.pictures import encoded, gradient

CONFIG = Path(__file__).with_name("schemathesis.toml")
PARTS = {
    **{tag["name"]: ("--include-tag", tag["name"], "--phases", "examples,coverage,fuzzing") for tag in TAGS},
    "stateful": ("--phases", "stateful"),
}
"""Options of Schemathesis: the operations of each tag, then walks through all of them."""


def schemathesis(live: Live, folder: Path, *, examples: int, seed: int, more: Sequence[str] = ()) -> tuple[int, str]:
    """Exit status, 0 when nothing was found, and what it printed. `folder` takes the keys of two tenants."""
    keys = folder / "keys.json"
    if not keys.exists():
        _prepare(live, keys)
    done = subprocess.run(
        [
            *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(CONFIG)),
            *("run", f"{live.url}/openapi.json", "--checks", "all", "--no-color"),
            *("--max-examples", str(examples), "--seed", str(seed), *more),
        ],
        env={**os.environ, "PLUMAGE_CONFORMANCE_KEYS": str(keys)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    return done.returncode, done.stdout


def _prepare(live: Live, keys: Path) -> None:
    """Two tenants with a webhook secret and an asset each."""
    tenants = ("alice", "bob")
    with live.client() as http:  # makes the document, which takes its time on a busy machine; Schemathesis waits 10 s
        http.get("/openapi.json", timeout=300).raise_for_status()
    headers = {name: [{"name": "Authorization", "value": f"Bearer {live.key(name)}"}] for name in tenants}
    for name in tenants:
        live.webhook_secret(name)
        with live.client(name) as http:
            http.post("/v1/assets", files={"file": ("a.png", encoded(gradient()))}).raise_for_status()
    keys.write_text(json.dumps({"auth": [{"name": name, "fixedHeaders": headers[name]} for name in tenants]}))


@click.command()
@click.option("--examples", default=500, show_default=True, help="Most generated cases of one operation.")
@click.option("--seed", "seeds", multiple=True, type=int, default=(1, 2, 3), show_default=True)
@click.option("--part", "chosen", multiple=True, type=click.Choice(list(PARTS)), help="Only this; may be repeated.")
@click.option("--passed", type=click.Path(path_type=Path), help="Folder of reports: a part with one is not run again.")
@click.argument("more", nargs=-1)
def main(examples: int, seeds: Sequence[int], chosen: Sequence[str], passed: Path | None, more: Sequence[str]) -> None:
    """MORE goes to Schemathesis as it is. A run that was cut short goes on where it was with the same --passed."""
    failed = False
    for seed in seeds:
        with TemporaryDirectory() as place, running_service(Path(place)) as live:
            for name, options in PARTS.items():
                report = passed and passed / f"{examples}-{seed}-{name}.txt"
                if (chosen and name not in chosen) or (report and report.exists()):
                    continue
                began = time.monotonic()
                status, said = schemathesis(live, Path(place), examples=examples, seed=seed, more=[*options, *more])
                click.echo(f"{said}\nseed {seed}, {name}: status {status}, {time.monotonic() - began:.0f} s\n")
                failed = failed or status != 0
                if report and status == 0:
                    report.parent.mkdir(parents=True, exist_ok=True)
                    report.write_text(said)
    sys.exit(failed)


if __name__ == "__main__":
    main()
