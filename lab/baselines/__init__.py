"""Ours and what it is compared with, on the same weights, draws, masks and steps."""

from lab.baselines.case import Case
from lab.baselines.methods import METHODS, Method

__all__ = ["METHODS", "Case", "Method"]
