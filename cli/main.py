"""`plumage`: the group of the commands, each of which is imported when it is run."""

import sys
from importlib import import_module
from importlib.metadata import version

import click

from cli.errors import Failed

COMMANDS = {
    "up": ("cli.commands.up:up", "Run Redis, a worker and the API until Ctrl-C."),
    "transfer": (
        "cli.commands.transfer:transfer",
        "Repaint TARGET with the appearance of REFERENCE, part by part, in this process.",
    ),
    "match": ("cli.commands.match:match", "Match TARGET with REFERENCE: places of one colour belong together."),
    "explain": (
        "cli.commands.explain:explain",
        "Run the transfer of TARGET from REFERENCE, and show where one place of TARGET matched at each layer and step.",
    ),
    "serve": ("cli.commands.serve:serve", "Run the HTTP API."),
    "worker": ("cli.commands.worker:worker", "Run a worker on this machine's device, restarted whenever it dies."),
    "deliver": ("cli.commands.deliver:deliver", "Send webhooks until stopped."),
    "keys": ("cli.commands.keys:keys", "Create, list and revoke API keys."),
    "webhook-secrets": (
        "cli.commands.webhook_secrets:webhook_secrets",
        "Create, change, list and revoke the secrets that sign webhooks.",
    ),
    "models": ("cli.commands.models:models", "Compare the files of models with their manifests, or write these."),
    "openapi": ("cli.commands.openapi:openapi", "Write the OpenAPI description of the HTTP API."),
    "demo": (
        "cli.commands.demo:demo",
        "Start everything and repaint a picture over HTTP; sample pictures stand in for files not given.",
    ),
    "evaluate": (
        "cli.commands.evaluate:evaluate",
        "Measure transfers against the truth, in this process, with the weights of PLUMAGE_MODEL.",
    ),
    "faults": (
        "cli.commands.faults:faults",
        "Kill, pause and starve everything, and see whether any job is lost; needs a checkout.",
    ),
    "doctor": (
        "cli.commands.doctor:doctor",
        "Check Redis, the object store, weights, device, clock and limits, as this environment sets them.",
    ),
}
"""By name: `module:attribute` of the command, and the first sentence of its help."""


class LazyGroup(click.Group):
    """Imports a command when it is run, as click documents it ("Complex applications: lazily loading subcommands").

    There a command is imported for the help of the group and for completion too. Here both need its name and its first
    sentence alone, which `commands` has.
    """

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name, listed, rest = super().resolve_command(ctx, args)
        return name, listed and load_command(name or ""), rest


def load_command(name: str) -> click.Command:
    """Raises Failed when a package that the command needs is not installed."""
    module, _, attribute = COMMANDS[name][0].partition(":")
    try:
        command: click.Command = getattr(import_module(module), attribute)
    except ModuleNotFoundError as error:
        raise Failed(f"`plumage {name}` needs {error.name}, which is not installed here", "not_installed") from error
    return command


@click.group(
    cls=LazyGroup,
    commands={name: click.Command(name, short_help=sentence) for name, (_, sentence) in COMMANDS.items()},
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
@click.version_option(version("plumage"), prog_name="plumage", message="%(prog)s %(version)s")
def main() -> None:
    """Repaint one image with the appearance of another, part by part."""
    import structlog  # takes longer than the rest of the help

    # What loads models warns; stdout is for results. Looked up at every line, as a later redirection has to count.
    structlog.configure(logger_factory=lambda *_: structlog.PrintLogger(sys.stderr))
