"""Many clients at once, over HTTP."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from cli.stack.embedded import start_redis
from service.settings import ServiceSettings
from tests.contract.http.conftest import serving
from tests.faults.promise import Figures, check_promise
from tests.faults.scenario import scenario
from tests.faults.stack import running_stack


@scenario(
    fault="parallel submissions with one Idempotency-Key",
    short={"clients": 50},
    full=[{"clients": 50}],
)
def one_key_many_clients(folder: Path, *, clients: int) -> Figures:
    runs = folder / "runs"
    with (
        start_redis(folder) as server,
        running_stack(server, folder, log=folder / "log") as stack,
        serving(ServiceSettings(), stack.settings) as api,
        ThreadPoolExecutor(clients) as pool,
    ):
        stack.start_worker()

        def submit(_: int) -> tuple[int, str]:
            answer = api.submit(headers={"Idempotency-Key": "one"}, prompt=f'{{"log": "{runs}"}}', seed=7)
            return answer.status_code, answer.text

        answers = set(pool.map(submit, range(clients)))
        assert len(answers) == 1, f"{len(answers)} different answers"
        ((status, _),) = answers
        assert status == 202
        (listed,) = stack.store.list_jobs(tenant="local").items
        stack.until_end(listed.id)
        times_run = len(runs.read_text().split())
        assert times_run == 1
        figures = check_promise(stack, [listed.id])
        return {"clients": clients, "different_answers": len(answers), "times_run": times_run, **figures}
