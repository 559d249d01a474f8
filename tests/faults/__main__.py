"""`python -m tests.faults [--full] [NAME …]`: breaks everything on purpose and prints what came of it."""

import json
import logging
import shutil
import sys
import tempfile
import time
import traceback
from pathlib import Path

import click
import structlog

from tests.faults import scenarios  # noqa: F401  (fills SCENARIOS)
from tests.faults.scenario import SCENARIOS, Scenario, Size, Unavailable, run_in


@click.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--full", is_flag=True, help="The long form: hours, mostly of waiting.")
@click.option("--list", "only_list", is_flag=True, help="List the scenarios.")
@click.option("--keep", is_flag=True, help="Keep the folders with logs and journals, also of what passed.")
def main(names: tuple[str, ...], full: bool, only_list: bool, keep: bool) -> None:
    """One line of JSON for each scenario. Exit code 1 when a promise was broken."""
    unknown = set(names) - {scenario.name for scenario in SCENARIOS}
    if unknown:
        raise click.BadParameter(f"no scenario {', '.join(sorted(unknown))}; --list names them")
    chosen = [scenario for scenario in SCENARIOS if not names or scenario.name in names]
    if only_list:
        for scenario in chosen:
            click.echo(f"{scenario.name:26} {scenario.fault}")
        return
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    folder = Path(tempfile.mkdtemp(prefix="plumage-faults-"))
    runs = [(scenario, size) for scenario in chosen for size in (scenario.full if full else [scenario.short])]
    passed = [
        _run(folder / f"{number}-{scenario.name}", scenario, size) for number, (scenario, size) in enumerate(runs)
    ]
    if all(passed) and not keep:
        shutil.rmtree(folder)
    else:
        click.echo(f"logs and journals are in {folder}", err=True)
    sys.exit(0 if all(passed) else 1)


def _run(folder: Path, scenario: Scenario, size: Size) -> bool:
    """Prints the line; true when the promise was kept or the machine could not try."""
    click.echo(f"{scenario.name} {dict(size)} …", err=True)
    began = time.monotonic()
    line: dict[str, object] = {"scenario": scenario.name}
    try:
        line |= {"outcome": "passed", "figures": run_in(folder, scenario, size)}
    except Unavailable as error:
        line |= {"outcome": "skipped", "reason": str(error)}
    except Exception as error:  # a broken promise, or a fault of the scenario: the others are run all the same
        traceback.print_exc()
        line |= {"outcome": "failed", "reason": f"{type(error).__name__}: {error}", "size": dict(size)}
    click.echo(json.dumps({**line, "wall_s": round(time.monotonic() - began, 1)}))
    return line["outcome"] != "failed"


if __name__ == "__main__":
    main(prog_name="plumage faults")
