"""Figures of a result by the truth of its pair: colour, structure, texture, background.

`Judge(pair, token_pitch_px=...)(result)` gives them all, each with its weight in the mean over pairs.
"""

from lab.metrics.figure import NOTHING, Figure
from lab.metrics.judge import FIGURES, Judge

__all__ = ["FIGURES", "NOTHING", "Figure", "Judge"]
