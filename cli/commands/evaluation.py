"""From the options of `plumage evaluate` to a report: what needs the networks in this process."""

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from checkpoints.devices import choose_device
from checkpoints.load import LoadedModels
from cli.engine import load_models
from cli.errors import BadInput, Failed
from cli.io import ProgressBar, progress_bar, replace_file
from cli.params import read_params
from core.errors import CoreError
from core.params.transfer import TransferParams
from lab.baselines import METHODS
from lab.evaluation import (
    Plan,
    ResultsOfAnotherRun,
    describe_run,
    draw_sheet,
    evaluate,
    evaluation_page,
    summarise,
    table,
)
from lab.evaluation.sheet import SHEET_PAIRS, column_names
from lab.pairs import PairSet


@dataclass(frozen=True)
class Outputs:
    """Where the report goes; its pairs are kept in a folder beside it."""

    report: Path
    sheet: Path | None = None
    page: Path | None = None

    @property
    def pairs(self) -> Path:
        return self.report.with_suffix(".pairs")


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
        ours = {**chosen.pop("ours", {}), **given.model_dump(include=given.model_fields_set)}
        params = TransferParams.model_validate(ours)
        for changes in chosen.values():
            TransferParams.model_validate({**params.model_dump(), **changes})
    except ValidationError as error:
        problems = (f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise BadInput(f"--tuned {tuned}: {'; '.join(problems)}", "bad_settings") from error
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise BadInput(f"--tuned {tuned}: not a report of a search: {error}", "bad_settings") from error
    return Settings(params, chosen)


def measure(
    pairs: int, seed: int, kind: str, methods: tuple[str, ...] | None, settings: Settings, outputs: Outputs
) -> str:
    """Runs or goes on, writes the report, the sheet and the page, and returns the table to show.

    Raises BadInput for an unknown method and for a folder with pairs of another run, Failed when a transfer fails.
    """
    chosen = _known(methods, METHODS)
    plan = Plan(pairs, seed, chosen, PairSet(kind), settings.params, overrides=settings.overrides)
    with _running(outputs.pairs) as (loaded, on_pair):
        rows = evaluate(loaded, plan, outputs.pairs, on_pair)
    summary = summarise(describe_run(plan, loaded), rows)
    _write_report(outputs, summary)
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

    plan = Plan(pairs, seed, ("ours",), PairSet(kind), settings.params)
    with _running(outputs.pairs) as (loaded, on_pair):
        report = ablate(loaded, plan, outputs.pairs, on_pair)
    _write_report(outputs, report)
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
    from lab.photographs import (
        METHODS_WITHOUT_TRUTH,
        BadFolder,
        FeatureModelError,
        evaluate_photographs,
        load_feature_model,
        photographs_page,
        photographs_table,
        read_pairs,
    )

    chosen = _known(methods, METHODS_WITHOUT_TRUTH)
    try:
        pairs = read_pairs(folder)
        features = load_feature_model(feature_model, choose_device("auto"))
    except (BadFolder, FeatureModelError) as error:
        raise BadInput(str(error), "bad_photographs") from error
    with _running(outputs.pairs) as (loaded, on_pair):
        report = evaluate_photographs(
            loaded,
            features,
            pairs,
            chosen,
            settings.params,
            seed,
            outputs.pairs,
            overrides=settings.overrides,
            on_pair=on_pair,
        )
    _write_report(outputs, report)
    if outputs.page is not None:
        replace_file(outputs.page, photographs_page(report, outputs.pairs).encode())
    return photographs_table(report)


def _known(methods: tuple[str, ...] | None, there_are: Mapping[str, object]) -> tuple[str, ...]:
    if methods is None:
        return tuple(there_are)
    if unknown := [name for name in methods if name not in there_are]:
        raise BadInput(f"--methods: no {', '.join(unknown)}; there are {', '.join(there_are)}", "bad_method")
    return methods


@contextmanager
def _running(folder: Path) -> Iterator[tuple[LoadedModels, Callable[[int, int], None]]]:
    """The weights, and what shows progress; errors of the run as those of the command line."""
    with progress_bar() as bar:
        bar.say("loading the model")
        loaded = load_models()
        try:
            yield loaded, _shown(bar)
        except ResultsOfAnotherRun as error:
            raise BadInput(str(error), "results_of_another_run") from error
        except CoreError as error:
            raise Failed(str(error), error.code) from error
        except OSError as error:
            raise Failed(f"cannot write {folder}: {error.strerror}", "cannot_write") from error


def _shown(bar: ProgressBar) -> Callable[[int, int], None]:
    return lambda done, total: bar.show("pairs", {"step": done, "steps": total})


def _write_report(outputs: Outputs, report: dict[str, Any]) -> None:
    replace_file(outputs.report, (json.dumps(report, indent=1) + "\n").encode())
