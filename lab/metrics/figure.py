"""One figure of one pair: a value, and how much it weighs in the mean over pairs."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """`weight` 0 means that this pair has nothing to judge. Shares of parts weigh as many parts as they count."""

    value: float
    weight: float = 1.0


NOTHING = Figure(0.0, 0.0)
