"""Figures of a result or of a correspondence by the truth of its pair."""
