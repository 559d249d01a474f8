"""`plumage evaluate`: all methods on rendered pairs whose right answer is known, or on pairs of one's own."""

from pathlib import Path

import click

from cli.errors import BadInput

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
@click.option("--ablate", is_flag=True, help="Instead: one row for each source, level and mask mode of ours.")
@click.option("--json", "report", type=FILE, default=Path("runs/evaluation.json"), show_default=True)
@click.option("--sheet", type=FILE, help="A contact sheet of the first 24 pairs, or of all rows of --ablate; PNG.")
@click.option("--html", "page", type=FILE, help="The report as one self-contained page.")
@click.option("--param", "assignments", multiple=True, metavar="KEY=VALUE", help="A parameter; may be repeated.")
@click.option("--tuned", type=FILE, help="Settings of all methods as `python -m lab.search` found them.")
@click.option(
    "--photographs",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Instead: pairs NAME-target.jpg, NAME-reference.jpg (and -mask.png of each) from a folder.",
)
@click.option("--feature-model", metavar="FOLDER|ID@COMMIT", help="For photographs: the ViT that measures distances.")
@click.pass_context
def evaluate(
    context: click.Context,
    pairs: int,
    seed: int,
    kind: str,
    methods: str | None,
    ablate: bool,
    report: Path,
    sheet: Path | None,
    page: Path | None,
    assignments: tuple[str, ...],
    tuned: Path | None,
    photographs: Path | None,
    feature_model: str | None,
) -> None:
    """Measure transfers against the truth, in this process, with the weights of PLUMAGE_MODEL.

    Finished pairs are kept beside the report, and the same command goes on where it was stopped.
    """
    from cli.commands.evaluation import Outputs, measure, measure_ablation, measure_photographs, read_settings
    from cli.io import check_writable

    if sheet is not None:
        check_writable(sheet)
    if page is not None:
        check_writable(page, ".html")
    names = None if methods is None else tuple(methods.split(","))
    settings = read_settings(assignments, tuned)
    outputs = Outputs(report, sheet, page)
    if ablate:
        for option in ("methods", "page", "tuned", "photographs", "feature_model"):
            if context.get_parameter_source(option) is click.core.ParameterSource.COMMANDLINE:
                raise BadInput(f"--ablate takes no {'html' if option == 'page' else option}", "bad_arguments")
        click.echo(measure_ablation(pairs, seed, kind, settings, outputs))
        return
    if photographs is None and feature_model is None:
        click.echo(measure(pairs, seed, kind, names, settings, outputs))
        return
    if photographs is None or feature_model is None:
        raise BadInput("--photographs and --feature-model go together", "bad_arguments")
    for option, name in (("pairs", "pairs"), ("set", "kind"), ("sheet", "sheet")):
        if context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE:
            raise BadInput(f"--{option} is for rendered pairs, not for --photographs", "bad_arguments")
    click.echo(measure_photographs(photographs, feature_model, seed, names, settings, outputs))
