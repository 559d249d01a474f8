"""Which answers are worth another try, and when."""

import random
from collections.abc import Mapping
from dataclasses import dataclass

RETRIED = frozenset({429, 502, 503, 504})


@dataclass(frozen=True, slots=True)
class Retries:
    """Tries after the first, with pauses that double from `first_s` to `longest_s`, each shortened at random by up to
    a half. A `Retry-After` counts instead, unless it is longer than `patience_s`: then the answer is raised at once."""

    times: int = 5
    first_s: float = 0.5
    longest_s: float = 20.0
    patience_s: float = 60.0

    def pause_s(self, attempt: int, retry_after: float | None = None) -> float | None:
        """Seconds until the next try after `attempt` failed ones, counted from 1. None: no more."""
        if attempt > self.times or (retry_after or 0) > self.patience_s:
            return None
        if retry_after is not None:
            return retry_after
        longest = min(self.longest_s, self.first_s * 2.0 ** (attempt - 1))
        return longest * random.uniform(0.5, 1.0)


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Seconds of a `Retry-After`; None without one, and for a date, which this API never sends."""
    given = headers.get("retry-after", "")
    return float(given) if given.isdecimal() else None


def worth_another(status: int, retry_after: float | None) -> bool:
    """Also a 409 that says when to come back: another submission with the same key is being admitted."""
    return status in RETRIED or (status == 409 and retry_after is not None)
