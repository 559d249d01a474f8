"""The end of a worker's life: no new job, and after a signal some time for the running one."""

import time


class Drain:
    """Only plain assignments, so it may be used from signal handlers and threads."""

    def __init__(self, patience_s: float) -> None:
        self._patience_s = patience_s
        self._deadline: float | None = None
        self.retired = False
        """The process ends by itself, and another one shall take its place."""

    def request(self) -> None:
        """The first request gives the running job `patience_s`; the second takes that time away."""
        again = self._deadline is not None
        self._deadline = time.monotonic() + (0.0 if again else self._patience_s)

    def retire(self) -> None:
        """The running job, if any, is finished; then the process ends."""
        self.retired = True
        if self._deadline is None:
            self._deadline = float("inf")

    @property
    def requested(self) -> bool:
        return self._deadline is not None

    @property
    def overdue(self) -> bool:
        """The running job shall be handed back now."""
        return self._deadline is not None and time.monotonic() >= self._deadline
