"""`plumage doctor`: what stands in the way, and what to do about it."""

import json
from dataclasses import asdict
from pathlib import Path

import click

from cli.options import data_dir_option
from cli.settings import setting_errors
from cli.stack.checks import check_all
from jobs.logs import configure_logs
from jobs.settings import JobSettings

MARKS = {"ok": "ok  ", "warning": "WARN", "error": "FAIL", "skipped": "--  "}


@click.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
@data_dir_option("Folder of `plumage up`, when PLUMAGE_REDIS_URL is not set.")
def doctor(as_json: bool, data_dir: Path) -> None:
    """Check Redis, the object store, weights, device, clock and limits, as this environment sets them.

    Exit code 1 when something has to be done; warnings leave it at 0.
    """
    configure_logs()  # to stderr: the report is alone on stdout
    with setting_errors():
        settings = JobSettings(data_dir=data_dir.absolute())
    findings = list(check_all(settings))
    failed = any(finding.state == "error" for finding in findings)
    if as_json:
        click.echo(json.dumps({"ok": not failed, "checks": [asdict(finding) for finding in findings]}))
    else:
        for finding in findings:
            click.echo(f"{MARKS[finding.state]}  {finding.part:20} {finding.found}")
            if finding.advice:
                click.echo(f"{'':26} → {finding.advice}")
    raise SystemExit(1 if failed else 0)
