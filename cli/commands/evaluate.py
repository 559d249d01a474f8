"""`plumage evaluate`: all methods on rendered pairs whose right answer is known, or on pairs of one's own."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from pydantic import ValidationError

from cli.errors import BadInput, Failed
from cli.options import param_option
from cli.output import check_writable, replace_file
from cli.params import describe_problems, read_params
from core.params.transfer import TransferParams, nested, overlay, with_values

if TYPE_CHECKING:
    from checkpoints.load import LoadedModels

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
@param_option
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


@dataclass(frozen=True)
class Outputs:
    """Where the report goes; its pairs are kept in a folder beside it."""

    report: Path
    sheet: Path | None = None
    page: Path | None = None

    @property
    def pairs(self) -> Path:
        return self.report.with_suffix(".pairs")

    def write_report(self, report: dict[str, Any]) -> None:
        replace_file(self.report, (json.dumps(report, indent=1) + "\n").encode())


@dataclass(frozen=True)
class Settings:
    """What our method and the others are run with."""

    params: TransferParams
    overrides: Mapping[str, dict[str, Any]] = field(default_factory=dict)


def read_settings(assignments: tuple[str, ...], tuned: Path | None) -> Settings:
    """`--param` over what a search found, over the defaults. Raises BadInput."""
    given = read_params(assignments)
    if tuned is None:
        return Settings(given)
    try:
        chosen: dict[str, dict[str, Any]] = json.loads(tuned.read_text())["chosen"]
        ours = overlay(nested(chosen.pop("ours", {})), given.model_dump(exclude_unset=True))
        params = TransferParams.model_validate(ours)
        for changes in chosen.values():
            with_values(params, changes)
    except ValidationError as error:
        raise BadInput(f"--tuned {tuned}: {'; '.join(describe_problems(error))}", "bad_settings") from error
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise BadInput(f"--tuned {tuned}: not a report of a search: {error}", "bad_settings") from error
    return Settings(params, chosen)


def measure(
    pairs: int, seed: int, kind: str, methods: tuple[str, ...] | None, settings: Settings, outputs: Outputs
) -> str:
    """Runs or goes on, writes the report, the sheet and the page, and returns the table to show.

    Raises BadInput for an unknown method and for a folder with pairs of another run, Failed when a transfer fails.
    """
    from lab.baselines import METHODS
    from lab.evaluation import Plan, describe_run, draw_sheet, evaluation_page, summarise, table
    from lab.evaluation import evaluate as evaluate_pairs
    from lab.evaluation.sheet import SHEET_PAIRS, column_names
    from lab.pairs import PairSet

    chosen = _choose(methods, METHODS)
    plan = Plan(pairs, seed, chosen, PairSet(kind), settings.params, overrides=settings.overrides)
    with _evaluating(outputs.pairs) as (loaded, on_pair):
        rows = evaluate_pairs(loaded, plan, outputs.pairs, on_pair)
    summary = summarise(describe_run(plan, loaded), rows)
    outputs.write_report(summary)
    if outputs.sheet is not None:
        draw_sheet(outputs.pairs, plan.seeds, plan.methods, outputs.sheet)
    if outputs.page is not None:
        shown = [(f"{row['seed']} {row['category']}", outputs.pairs / f"{row['seed']}.png") for row in rows]
        page = evaluation_page(summary, column_names(plan.methods), shown[:SHEET_PAIRS])
        replace_file(outputs.page, page.encode())
    return table(summary)


def measure_ablation(pairs: int, seed: int, kind: str, settings: Settings, outputs: Outputs) -> str:
    """Every row of `lab.ablation` on rendered pairs: writes the report and, of the first pair, a picture of all rows;
    returns the table, in Markdown. Raises as `measure`."""
    from lab.ablation import ablate, ablation_table
    from lab.evaluation import Plan
    from lab.pairs import PairSet

    plan = Plan(pairs, seed, ("ours",), PairSet(kind), settings.params)
    with _evaluating(outputs.pairs) as (loaded, on_pair):
        report = ablate(loaded, plan, outputs.pairs, on_pair)
    outputs.write_report(report)
    if outputs.sheet is not None:
        shutil.copyfile(outputs.pairs / f"{plan.seeds[0]}.png", outputs.sheet)
    return ablation_table(report)


def measure_photographs(
    folder: Path,
    feature_model: str,
    seed: int,
    methods: tuple[str, ...] | None,
    settings: Settings,
    outputs: Outputs,
) -> str:
    """The same for a folder of photographs, by distances. Raises BadInput and Failed."""
    from checkpoints.devices import choose_device
    from lab.photographs import (
        METHODS_WITHOUT_TRUTH,
        BadFolder,
        FeatureModelError,
        PhotographPlan,
        evaluate_photographs,
        load_feature_model,
        photographs_page,
        photographs_table,
        read_pairs,
    )

    plan = PhotographPlan(_choose(methods, METHODS_WITHOUT_TRUTH), settings.params, seed, settings.overrides)
    try:
        pairs = read_pairs(folder)
        features = load_feature_model(feature_model, choose_device("auto"))
    except (BadFolder, FeatureModelError) as error:
        raise BadInput(str(error), "bad_photographs") from error
    with _evaluating(outputs.pairs) as (loaded, on_pair):
        report = evaluate_photographs(loaded, features, pairs, plan, outputs.pairs, on_pair)
    outputs.write_report(report)
    if outputs.page is not None:
        replace_file(outputs.page, photographs_page(report, outputs.pairs).encode())
    return photographs_table(report)


def _choose(methods: tuple[str, ...] | None, known: Mapping[str, object]) -> tuple[str, ...]:
    if methods is None:
        return tuple(known)
    if unknown := [name for name in methods if name not in known]:
        raise BadInput(f"--methods: no {', '.join(unknown)}; there are {', '.join(known)}", "bad_method")
    return methods


@contextmanager
def _evaluating(folder: Path) -> Iterator[tuple[LoadedModels, Callable[[int, int], None]]]:
    """The weights, and what shows progress; errors of the run as those of the command line."""
    from cli.engine import running_models
    from lab.evaluation import ResultsOfAnotherRun

    with running_models("pairs") as (loaded, bar):
        try:
            yield loaded, lambda done, total: bar.show("pairs", done, total)
        except ResultsOfAnotherRun as error:
            raise BadInput(str(error), "results_of_another_run") from error
        except OSError as error:
            raise Failed(f"cannot write {folder}: {error.strerror}", "cannot_write") from error
