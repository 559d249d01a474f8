"""`plumage evaluate`: all methods on rendered pairs whose right answer is known, or on pairs of one's own."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
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
@click.option("--methods", metavar="NAME,NAME", help="Which ones. [default: all; of photographs the plainest five]")
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
    help="Instead: pairs NAME-target.jpg, NAME-reference.jpg from a folder, by the masks and the truth beside them.",
)
@click.option("--feature-model", metavar="FOLDER|ID@COMMIT", help="For photographs: a ViT that measures distances too.")
@click.option("--true-maps", is_flag=True, help="For photographs: one more method, ours by NAME-map.json.")
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
    true_maps: bool,
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
    of_photographs = ("feature_model", "true_maps")
    if ablate:
        _refuse(context, ("methods", "page", "tuned", "photographs", *of_photographs), "--ablate takes none")
        click.echo(measure_ablation(pairs, seed, kind, settings, outputs))
    elif photographs is None:
        _refuse(context, of_photographs, "it goes with --photographs")
        click.echo(measure(pairs, seed, kind, names, settings, outputs))
    else:
        _refuse(context, ("pairs", "kind"), "--photographs takes none")
        run = PhotographRun(photographs, feature_model, seed, names, true_maps)
        click.echo(measure_photographs(run, settings, outputs))


def _refuse(context: click.Context, names: Sequence[str], reason: str) -> None:
    """Raises BadInput for an option that is on the command line and does not go with another."""
    for option in context.command.params:
        given = context.get_parameter_source(option.name or "") is click.core.ParameterSource.COMMANDLINE
        if option.name in names and given:
            raise BadInput(f"{option.opts[0]}: {reason}", "bad_arguments")


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


@dataclass(frozen=True)
class PhotographRun:
    """A folder of photographs and what is measured of it."""

    folder: Path
    feature_model: str | None
    seed: int
    methods: tuple[str, ...] | None
    true_maps: bool


def measure_photographs(run: PhotographRun, settings: Settings, outputs: Outputs) -> str:
    """The same for a folder of photographs, by the truth beside them and by distances. Raises as `measure`."""
    from checkpoints.devices import choose_device
    from lab.photographs.features import FeatureModelError, load_feature_model
    from lab.photographs.folder import BadFolder, find_pairs
    from lab.photographs.methods import DEFAULT_METHODS, METHODS_WITHOUT_TRUTH, TRUE_MAP
    from lab.photographs.report import draw_photographs_sheet, photographs_page
    from lab.photographs.run import PhotographPlan, evaluate_photographs
    from lab.photographs.summary import photographs_table

    chosen = _choose(run.methods or DEFAULT_METHODS, METHODS_WITHOUT_TRUTH) + ((TRUE_MAP,) if run.true_maps else ())
    plan = PhotographPlan(chosen, settings.params, run.seed, settings.overrides)
    try:
        pairs = find_pairs(run.folder)
        features = load_feature_model(run.feature_model, choose_device("auto")) if run.feature_model else None
        if features is None and not any(pair.judged for pair in pairs):
            raise BadFolder(f"{run.folder} has no truth, points or masks beside its pairs; --feature-model needs none")
        with _evaluating(outputs.pairs) as (loaded, on_pair):
            report = evaluate_photographs(loaded, pairs, plan, outputs.pairs, features, on_pair)
    except (BadFolder, FeatureModelError) as error:
        raise BadInput(str(error), "bad_photographs") from error
    outputs.write_report(report)
    if outputs.sheet is not None:
        draw_photographs_sheet(report, outputs.pairs, outputs.sheet)
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
