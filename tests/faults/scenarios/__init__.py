"""All scenarios. Importing this package fills `tests.faults.scenario.SCENARIOS`, in this order."""

from tests.faults.scenarios import deaths, redis, submissions, burdens, histories, clocks  # noqa: F401, I001
