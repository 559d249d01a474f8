"""`plumage`: the commands and what they have in common."""

import os
import sys
from importlib.metadata import version

import click

from cli.commands.deliver import deliver
from cli.commands.demo import demo
from cli.commands.doctor import doctor
from cli.commands.evaluate import evaluate
from cli.commands.explain import explain
from cli.commands.faults import faults
from cli.commands.keys import keys
from cli.commands.match import match
from cli.commands.models import models
from cli.commands.openapi import openapi
from cli.commands.serve import serve
from cli.commands.transfer import transfer
from cli.commands.up import up
from cli.commands.webhook_secrets import webhook_secrets
from cli.commands.worker import worker
from cli.stack.children import PARENT_VARIABLE
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
