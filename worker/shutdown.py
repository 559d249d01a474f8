"""The end of a worker's life: it takes no new job, and after a signal the running one has limited time."""

import time


class Shutdown:
    """Only plain assignments, so signal handlers and threads may use it."""

    def __init__(self, drain_s: float) -> None:
        self._drain_s = drain_s
        self._deadline: float | None = None
        self.retired = False
        """The process ends by itself, and another one shall take its place."""

    def request(self) -> None:
        """The first request gives the running job `drain_s` seconds; the second ends that time."""
        again = self._deadline is not None
        self._deadline = time.monotonic() + (0.0 if again else self._drain_s)

    def retire(self) -> None:
        """Ends the process after the running job, if there is one, however long that takes."""
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
