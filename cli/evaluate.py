"""`plumage evaluate`: all methods on rendered pairs whose right answer is known."""

from pathlib import Path

import click

FILE = click.Path(dir_okay=False, path_type=Path)


@click.command()
@click.option("--pairs", type=click.IntRange(1), default=24, show_default=True, help="How many pairs.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed of the first pair.")
@click.option(
    "--set",
    "kind",
    type=click.Choice(["same", "cross", "aligned", "unaligned"]),
    default="same",
    show_default=True,
    help="How target and reference relate: one category, two of them, equal or very different poses.",
)
@click.option("--methods", metavar="NAME,NAME", help="Which ones. [default: all]")
@click.option("--json", "report", type=FILE, default=Path("runs/evaluation.json"), show_default=True)
@click.option("--sheet", type=FILE, help="A contact sheet of the first 24 pairs, PNG.")
@click.option("--param", "assignments", multiple=True, metavar="KEY=VALUE", help="A parameter; may be repeated.")
def evaluate(
    pairs: int,
    seed: int,
    kind: str,
    methods: str | None,
    report: Path,
    sheet: Path | None,
    assignments: tuple[str, ...],
) -> None:
    """Measure transfers against the truth, in this process, with the weights of PLUMAGE_MODEL.

    Finished pairs are kept beside the report, and the same command goes on where it was stopped.
    """
    from cli.measure import measure
    from cli.output import check_writable
    from cli.params import read_params

    if sheet is not None:
        check_writable(sheet)
    names = None if methods is None else tuple(methods.split(","))
    click.echo(measure(pairs, seed, kind, names, read_params(assignments), report, sheet))
