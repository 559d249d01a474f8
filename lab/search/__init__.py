"""Finds settings for ours and for every other method on tuning pairs, with an equal number of trials for each."""

from lab.search.ascent import Search, find_settings
from lab.search.score import SCORE_WEIGHTS, score
from lab.search.space import TRIALS

__all__ = ["SCORE_WEIGHTS", "TRIALS", "Search", "find_settings", "score"]
