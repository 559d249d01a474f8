"""From the options of `plumage evaluate` to a report: what needs the networks in this process."""

import json
from pathlib import Path

from cli.engine import load_models
from cli.errors import BadInput, Failed
from cli.progress import progress_bar
from core.errors import CoreError
from core.params import TransferParams
from lab.baselines import METHODS
from lab.evaluation import Plan, ResultsOfAnotherRun, describe_run, draw_sheet, evaluate, summarise, table
from lab.pairs import PairSet


def measure(
    pairs: int,
    seed: int,
    kind: str,
    methods: tuple[str, ...] | None,
    params: TransferParams,
    report: Path,
    sheet: Path | None,
) -> str:
    """Runs or goes on, writes the report and the sheet, and returns the table to show.

    Raises BadInput for an unknown method and for a folder with pairs of another run, Failed when a transfer fails.
    """
    chosen = tuple(METHODS) if methods is None else methods
    if unknown := [name for name in chosen if name not in METHODS]:
        raise BadInput(f"--methods: no {', '.join(unknown)}; there are {', '.join(METHODS)}", "bad_method")
    plan = Plan(pairs, seed, chosen, PairSet(kind), params)
    folder = report.with_suffix(".pairs")
    with progress_bar() as bar:
        bar.say("loading the model")
        loaded = load_models()
        bar.show("pairs", {"step": 0, "steps": pairs})
        try:
            rows = evaluate(loaded, plan, folder, lambda done, total: bar.show("pairs", {"step": done, "steps": total}))
        except ResultsOfAnotherRun as error:
            raise BadInput(str(error), "results_of_another_run") from error
        except CoreError as error:
            raise Failed(str(error), error.code) from error
        except OSError as error:
            raise Failed(f"cannot write {folder}: {error.strerror}", "cannot_write") from error
    summary = summarise(describe_run(plan, loaded), rows)
    report.write_text(json.dumps(summary, indent=1) + "\n")
    if sheet is not None:
        draw_sheet(folder, plan.seeds, plan.methods, sheet)
    return table(summary)
