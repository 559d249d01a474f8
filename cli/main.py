"""`plumage`: the commands and what they have in common."""

import os
import sys
from importlib.metadata import version

import click

from cli.children import PARENT_VARIABLE
from cli.deliver import deliver
from cli.demo import demo
from cli.doctor import doctor
from cli.evaluate import evaluate
from cli.explain import explain
from cli.faults import faults
from cli.keys import keys
from cli.match import match
from cli.models import models
from cli.openapi import openapi
from cli.serve import serve
from cli.transfer import transfer
from cli.up import up
from cli.webhook_secrets import webhook_secrets
from cli.worker import worker
from jobs.lifeline import die_with_parent


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(version("plumage"), prog_name="plumage", message="%(prog)s %(version)s")
def main() -> None:
    """Repaint one image with the appearance of another, part by part."""
    import structlog

    if parent := os.environ.pop(PARENT_VARIABLE, None):
        die_with_parent(int(parent))
    # What loads models warns; stdout is for results. Looked up at every line, as a later redirection has to count.
    structlog.configure(logger_factory=lambda *_: structlog.PrintLogger(sys.stderr))


for command in (
    *(up, transfer, match, explain, serve, worker, deliver, keys, webhook_secrets, models, openapi),
    *(demo, evaluate, faults, doctor),
):
    main.add_command(command)
