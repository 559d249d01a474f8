"""`python -m lab.search`: finds settings for every method with the weights of PLUMAGE_MODEL.

python -m lab.search --pairs 12 --json docs/evaluation/tuning.json      # goes on where it was stopped
plumage evaluate --tuned docs/evaluation/tuning.json                    # uses what it found
"""

import argparse
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import structlog
import torch

from checkpoints.load import load
from checkpoints.settings import ModelSettings
from core.params.transfer import TransferParams
from lab.pairs import PairSet
from lab.search.ascent import OURS, Search, find_settings
from lab.search.report import table_of_trials
from lab.search.space import TRIALS

log = structlog.get_logger()


def main() -> None:
    """Searches and writes the report, and beside it a table for people."""
    parser = argparse.ArgumentParser(prog="python -m lab.search")
    parser.add_argument("--pairs", type=int, default=12, help="tuning pairs of every trial")
    parser.add_argument("--seed", type=int, default=0, help="seed of the first pair")
    parser.add_argument("--set", dest="kind", type=PairSet, default=PairSet.SAME)
    parser.add_argument("--methods", default=",".join(TRIALS), help="NAME,NAME; ours is the base of all others")
    parser.add_argument("--trials", type=int, help="at most so many of every method")
    parser.add_argument(
        "--params", default="{}", help="nested JSON: parameters to start from, in place of the defaults"
    )
    parser.add_argument("--json", type=Path, default=Path("docs/evaluation/tuning.json"))
    parser.add_argument("--work", type=Path, default=Path("runs/search"), help="where trials are kept")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    trials = {name: TRIALS[name][: options.trials] for name in options.methods.split(",")}
    base = TransferParams.model_validate_json(options.params)
    search = Search(options.pairs, options.seed, options.work, options.kind, base)
    report = find_settings(load(ModelSettings()), search, trials, _log_trial)
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(report, indent=1) + "\n")
    options.json.with_suffix(".md").write_text(table_of_trials(report))
    log.info("search.finished", report=str(options.json), ours=report["chosen"].get(OURS))


def _log_trial(method: str, number: int, outcome: Mapping[str, Any]) -> None:
    log.info(
        "search.trial",
        method=method,
        trial=number,
        change=outcome["change"],
        kept=outcome["kept"],
        score=round(outcome["score"], 4),
    )


if __name__ == "__main__":
    main()
