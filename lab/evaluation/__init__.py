"""All methods on the same pairs, judged by the truth: `evaluate` runs them, `summarise` and `draw_sheet` show them."""

from lab.evaluation.page import evaluation_page
from lab.evaluation.plan import Plan, ResultsOfAnotherRun, describe_run
from lab.evaluation.run import evaluate
from lab.evaluation.sheet import draw_sheet
from lab.evaluation.summary import summarise, table

__all__ = [
    "Plan",
    "ResultsOfAnotherRun",
    "describe_run",
    "draw_sheet",
    "evaluate",
    "evaluation_page",
    "summarise",
    "table",
]
