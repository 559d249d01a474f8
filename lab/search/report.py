"""What a search tried, as a table for people."""

import json
from typing import Any


def table_of_trials(report: dict[str, Any]) -> str:
    """Markdown: every method's trials in their order, with the score, the figures, and which were kept."""
    run = report["run"]
    lines = [
        "# Search of settings",
        "",
        f"{run['pairs']} tuning pairs from seed {run['first_seed']}, set {run['set']}, {run['size']} px, weights "
        f"{run['model']['id']} ({str(run['model']['revision'])[:12]}). Score: weighted mean of "
        + ", ".join(f"{name} {weight:+g}" for name, weight in report["score"].items())
        + "; one minus the figure where the sign is negative. A change stays for the trials after "
        "it (bold) where it raises the score by more than the standard error of the difference.",
    ]
    for method, outcomes in report["trials"].items():
        figures = list(outcomes[0]["figures"])
        lines += ["", f"## {method}", "", f"Chosen: `{json.dumps(report['chosen'][method])}`", ""]
        lines += [f"| change | score | error | {' | '.join(figures)} |", "|---|--:|--:|" + "--:|" * len(figures)]
        for outcome in outcomes:
            change = (
                ", ".join(f"{name} = {json.dumps(value)}" for name, value in outcome["change"].items()) or "as it is"
            )
            score = f"**{outcome['score']:.4f}**" if outcome["kept"] else f"{outcome['score']:.4f}"
            cells = " | ".join(_shown(outcome["figures"][figure]) for figure in figures)
            lines.append(f"| {change} | {score} | {outcome['error']:.4f} | {cells} |")
    return "\n".join(lines) + "\n"


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
