"""Random streams for scenes, separated by what the scenes are used for.

A stream is a PCG64 generator seeded with SHA-256 of `(domain, seed, purpose)`, so that the same integer never gives the
same scene in two domains, and a change in one purpose (such as the background) does not shift the draws of another.
"""

import hashlib
from enum import StrEnum

import numpy as np


class Domain(StrEnum):
    """What a scene may be used for. Evaluation scenes never occur in training or tuning."""

    TRAINING = "training"
    TUNING = "tuning"
    EVALUATION = "evaluation"
    SAMPLES = "samples"
    """Pictures for documentation: free of any measurement."""


def stream(domain: Domain, seed: int, purpose: str) -> np.random.Generator:
    """The generator of one purpose of one scene; equal arguments give equal draws on every platform."""
    digest = hashlib.sha256(f"{domain.value}/{seed}/{purpose}".encode()).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest, "big")))
