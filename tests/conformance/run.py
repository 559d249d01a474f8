"""Runs Schemathesis against the running service: all checks and all phases, several seeds.

`python -m tests.conformance.run --examples 500 --seed 1 --seed 2 --seed 3` is the long run.
"""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import click

from tests.live import Live, running_service
from tests.pictures import encoded, gradient

CONFIG = Path(__file__).with_name("schemathesis.toml")


def schemathesis(live: Live, folder: Path, *, examples: int, seed: int, more: Sequence[str] = ()) -> tuple[int, str]:
    """Exit status, 0 when nothing was found, and what it printed. `folder` takes the keys of two tenants."""
    keys = folder / "keys.json"
    tenants = ("alice", "bob")
    with live.client() as http:  # makes the document, which takes its time on a busy machine; Schemathesis waits 10 s
        http.get("/openapi.json", timeout=300).raise_for_status()
    headers = {name: [{"name": "Authorization", "value": f"Bearer {live.key(name)}"}] for name in tenants}
    for name in tenants:
        live.webhook_secret(name)
        with live.client(name) as http:
            http.post("/v1/assets", files={"file": ("a.png", encoded(gradient()))}).raise_for_status()
    keys.write_text(json.dumps({"auth": [{"name": name, "fixedHeaders": headers[name]} for name in tenants]}))
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


@click.command()
@click.option("--examples", default=500, show_default=True, help="Most generated cases of one operation.")
@click.option("--seed", "seeds", multiple=True, type=int, default=(1, 2, 3), show_default=True)
@click.argument("more", nargs=-1)
def main(examples: int, seeds: Sequence[int], more: Sequence[str]) -> None:
    """MORE goes to Schemathesis as it is."""
    failed = False
    for seed in seeds:
        with TemporaryDirectory() as place, running_service(Path(place)) as live:
            status, said = schemathesis(live, Path(place), examples=examples, seed=seed, more=more)
            click.echo(said)
            failed = failed or status != 0
    sys.exit(failed)


if __name__ == "__main__":
    main()
